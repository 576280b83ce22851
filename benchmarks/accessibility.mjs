// Checks pages with axe-core in headless Chromium: light and dark, on a phone and on a wide screen.
//
// Prints one line for each page, scheme and width, then each finding with the elements it is in.
// Ends with 1 where a finding is serious or critical, or where a page is wider than the screen.
//
// Needs Node 18 or newer and Chromium. Install the two packages in any folder and run from there:
//
//   npm install axe-core playwright-core
//   CHROMIUM=/usr/bin/chromium node path/to/benchmarks/accessibility.mjs path/to/report.html

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(resolve("package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [400, 1600];
const SCHEMES = ["light", "dark"];

async function check(browser, file, width, colorScheme) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    colorScheme,
    bypassCSP: true, // the page lets no script but its own run, and axe is one
  });
  const page = await context.newPage();
  await page.goto(pathToFileURL(resolve(file)).href);
  await page.evaluate(() => document.querySelectorAll("details").forEach((part) => (part.open = true)));
  await page.evaluate(axe);
  const { violations, passes } = await page.evaluate(() => axe.run());
  const sideways = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  await context.close();
  console.log(`${file} ${width} ${colorScheme}: ${passes.length} rules passed, ${violations.length} broken, ${sideways} px too wide`);
  for (const { id, impact, help, nodes } of violations) {
    console.log(`  ${impact} ${id}: ${help}, ${nodes.length} times`);
    nodes.slice(0, 3).forEach((node) => console.log(`    ${node.html.slice(0, 160)}`));
  }
  return sideways > 0 || violations.some(({ impact }) => ["serious", "critical"].includes(impact));
}

const files = process.argv.slice(2);
if (!files.length) {
  console.error("usage: node accessibility.mjs PAGE...");
  process.exit(2);
}
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu"],
});
let failed = false;
for (const file of files)
  for (const width of WIDTHS)
    for (const scheme of SCHEMES) failed = (await check(browser, file, width, scheme)) || failed;
await browser.close();
process.exit(failed ? 1 : 0);
