"""What records must meet: domain, zones, tables and statistics; read, filled, agreeing."""
