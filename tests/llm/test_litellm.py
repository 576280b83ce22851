"""The litellm provider, through the real client and real HTTP, against a scripted server."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import textwrap
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from scripted_server import ScriptedServer, Step, drop, error, half, hang, reply
from small_job import write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import InputError, ProviderRefusedError, ProviderUnavailableError
from llmsynthor.job.model import ProviderSpec
from llmsynthor.llm.providers.base import Request
from llmsynthor.llm.providers.litellm import NO_KEY, LitellmProvider, load_litellm
from llmsynthor.llm.providers.retry import RetryableError, parse_retry_after, with_retries

KEY = "sk-a-key-that-nobody-may-see-0123"
SCHEMA = {
    "type": "object",
    "properties": {"proposals": {"type": "array", "items": {"type": "string"}}},
    "required": ["proposals"],
    "additionalProperties": False,
}
PLAN = '{"proposals": ["retired couples", "students"]}'


@pytest.fixture(scope="module", autouse=True)
def litellm_module():
    """Pay for the import once, outside the tests that measure time."""
    return load_litellm()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_API_BASE", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("SCRIPTED_KEY", KEY)


def make_request(**changes) -> Request:
    asked = {
        "purpose": "plan",
        "sequence": 0,
        "system": "You know who lives where.",
        "prompt": "Propose.",
        "schema": SCHEMA,
        "model": "qwen2.5",
        "temperature": 0.8,
        "max_output_tokens": 256,
    }
    return Request(**(asked | changes))


def make_provider(server: ScriptedServer | None, *, on_retry=None, **spec) -> LitellmProvider:
    given = {"model": "qwen2.5", "api_key_env": "SCRIPTED_KEY", "timeout_s": 60.0, "retries": 2}
    if server is not None:
        given["api_base"] = server.base_url
    return LitellmProvider(ProviderSpec(**(given | spec)), backoff_s=0.01, on_retry=on_retry)


def test_a_reply_comes_with_its_usage_and_the_request_is_what_the_job_says():
    with ScriptedServer([reply(PLAN, prompt_tokens=120, completion_tokens=30)]) as server:
        answer = make_provider(server).complete(make_request())
    assert (answer.text, answer.model, answer.truncated) == (PLAN, "qwen2.5", False)
    assert (answer.prompt_tokens, answer.completion_tokens) == (120, 30)
    (seen,) = server.requests
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert seen.body == {
        "model": "qwen2.5",
        "messages": [
            {"role": "system", "content": "You know who lives where."},
            {"role": "user", "content": "Propose."},
        ],
        "temperature": 0.8,
        "max_tokens": 256,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "plan", "schema": SCHEMA, "strict": True},
        },
    }


def test_a_schema_with_optional_keys_is_not_called_strict():
    open_schema = {**SCHEMA, "required": []}
    with ScriptedServer([reply(PLAN)]) as server:
        make_provider(server).complete(make_request(schema=open_schema))
    assert server.bodies[0]["response_format"]["json_schema"]["strict"] is False


def test_a_reply_without_usage_has_no_tokens_and_no_known_cost():
    with ScriptedServer([reply(PLAN, usage=False)]) as server:
        provider = make_provider(server, price_per_mtok={"input": 1, "output": 2})
        answer = provider.complete(make_request())
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cost_usd) == (0, 0, None)


def test_a_reply_cut_at_its_longest_is_truncated():
    with ScriptedServer([half(PLAN)]) as server:
        answer = make_provider(server).complete(make_request())
    assert answer.truncated
    assert answer.text == PLAN[: len(PLAN) // 2]


def test_a_model_name_with_an_unknown_prefix_is_sent_whole_to_a_server_of_ones_own():
    with ScriptedServer(default=lambda _: reply(PLAN)) as server:
        for model in ("Qwen/Qwen2.5-7B", "openai/qwen2.5", "meta-llama/Llama-3"):
            make_provider(server, model=model).complete(make_request(model=model))
    names = [body["model"] for body in server.bodies]
    assert names == ["Qwen/Qwen2.5-7B", "qwen2.5", "meta-llama/Llama-3"]


def test_a_model_that_takes_no_temperature_still_answers():
    with ScriptedServer([reply(PLAN)]) as server:
        model = "openai/gpt-5-nano"
        make_provider(server, model=model).complete(make_request(model=model))
    assert "temperature" not in server.bodies[0]
    assert server.bodies[0]["max_completion_tokens"] == 256


def test_without_a_named_key_none_of_the_environment_is_sent(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ScriptedServer([reply(PLAN)]) as server:
        provider = make_provider(server, api_key_env=None)
        provider.check()
        provider.complete(make_request())
    assert server.requests[0].headers["authorization"] == f"Bearer {NO_KEY}"


@pytest.mark.parametrize(
    ("structured", "sent"), [("json", {"type": "json_object"}), ("text", None)]
)
def test_the_form_that_the_job_asks_for_is_sent(structured, sent):
    with ScriptedServer([reply(PLAN)]) as server:
        provider = make_provider(server, structured=structured)
        provider.complete(make_request())
    assert server.bodies[0].get("response_format") == sent
    assert provider.structured_used == structured


def test_a_form_that_litellm_believes_unsupported_is_sent_all_the_same():
    with ScriptedServer([reply(PLAN)]) as server:
        provider = make_provider(server, model="openai/gpt-4", structured="json")
        provider.complete(make_request(model="openai/gpt-4"))
    assert server.bodies[0]["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("openai/gpt-4.1-nano", "schema"),
        ("groq/gemma2-9b-it", "json"),
        ("cohere/command-r", "text"),
    ],
)
def test_auto_takes_the_strictest_form_that_the_model_has(model, expected):
    assert make_provider(None, model=model).structured_used == expected


def test_a_refused_schema_is_followed_by_simpler_forms_and_remembered():
    def picky(body):
        form = body.get("response_format", {}).get("type")
        if form is None:
            return reply(PLAN)
        return error(
            400,
            message=f"response_format type {form} is not supported",
            kind="invalid_request_error",
        )

    with ScriptedServer(default=picky) as server:
        provider = make_provider(server, retries=0)
        assert provider.structured_used == "schema"
        assert provider.complete(make_request()).text == PLAN
        assert provider.structured_used == "text"
        provider.complete(make_request())
    forms = [body.get("response_format", {}).get("type") for body in server.bodies]
    assert forms == ["json_schema", "json_object", None, None]


@pytest.mark.parametrize(
    "words", ["Failed to convert the JSON schema to a grammar", "guided decoding is not available"]
)
def test_a_server_that_breaks_on_the_schema_is_asked_for_less_instead_of_again(words):
    with ScriptedServer([error(500, message=words), reply(PLAN)]) as server:
        answer = make_provider(server, retries=0).complete(make_request())
    assert (answer.text, answer.structured) == (PLAN, "json")


def test_vllm_is_given_the_schema_to_guide_its_decoding():
    with ScriptedServer([reply(PLAN)]) as server:
        provider = make_provider(server, model="hosted_vllm/Qwen/Qwen2.5-7B-Instruct")
        answer = provider.complete(make_request(model="hosted_vllm/Qwen/Qwen2.5-7B-Instruct"))
    (body,) = server.bodies
    assert answer.structured == "schema"
    assert body["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("model", "path", "said"),
    [
        ("ollama_chat/qwen2.5", "/api/chat", {"message": {"role": "assistant", "content": PLAN}}),
        ("ollama/qwen2.5", "/api/generate", {"response": PLAN}),
    ],
)
@pytest.mark.filterwarnings("ignore:Items? '.*' on TypedDict:UserWarning")
def test_ollama_is_given_the_schema_as_its_format(model, path, said):
    body = {"model": "qwen2.5", "done": True, "prompt_eval_count": 11, "eval_count": 7, **said}
    asked = {"response_format"}
    with ScriptedServer(default=lambda _: Step("answer", body=body)) as server:
        address = server.base_url.removesuffix("/v1")
        answer = make_provider(None, model=model, api_base=address).complete(
            make_request(model=model)
        )
    sent = [request.body for request in server.requests if request.path == path]
    assert [one["format"] for one in sent] == [SCHEMA]
    assert not asked & sent[0].keys()
    assert (answer.text, answer.structured, answer.cost_usd) == (PLAN, "schema", None)
    assert (answer.prompt_tokens, answer.completion_tokens) == (11, 7)


def test_a_resumed_run_asks_in_the_form_that_it_came_down_to():
    with ScriptedServer([reply(PLAN)]) as server:
        spec = ProviderSpec(model="qwen2.5", api_base=server.base_url)
        LitellmProvider(spec, structured="json").complete(make_request())
    assert server.bodies[0]["response_format"] == {"type": "json_object"}


def test_threads_refused_together_step_down_once(caplog):
    def picky(body):
        time.sleep(0.05)
        if body.get("response_format", {}).get("type") == "json_schema":
            return error(400, message="json_schema is not supported")
        return reply(PLAN)

    with ScriptedServer(default=picky) as server, ThreadPoolExecutor(4) as pool:
        provider = make_provider(server)
        answers = list(pool.map(lambda n: provider.complete(make_request(sequence=n)), range(4)))
    assert [answer.text for answer in answers] == [PLAN] * 4
    assert provider.structured_used == "json"
    assert len([body for body in server.bodies if "json_schema" in str(body)]) > 1
    assert [record.message.count("asking with `json`") for record in caplog.records] == [1]


def test_retry_after_is_honoured():
    told = []
    with ScriptedServer([error(429, retry_after=0.4), reply(PLAN)]) as server:
        provider = make_provider(server, on_retry=lambda *retry: told.append(retry))
        assert provider.complete(make_request()).text == PLAN
    first, second = server.requests
    assert second.at_s - first.at_s >= 0.4
    ((attempt, wait_s, reason),) = told
    assert attempt == 1
    assert 0.4 <= wait_s < 1
    assert reason == "HTTP 429: scripted failure"


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 529])
def test_a_failure_that_may_pass_is_tried_again(status):
    with ScriptedServer([error(status), reply(PLAN)]) as server:
        assert make_provider(server).complete(make_request()).text == PLAN
    assert len(server.requests) == 2


def test_a_dropped_connection_is_tried_again():
    with ScriptedServer([drop(), reply(PLAN)]) as server:
        assert make_provider(server).complete(make_request()).text == PLAN
    assert len(server.requests) == 2


@pytest.mark.slow
def test_a_server_that_hangs_is_asked_again_after_the_time_out():
    told = []
    with ScriptedServer([hang(600), reply(PLAN)]) as server:
        provider = make_provider(server, timeout_s=1.5, on_retry=lambda *retry: told.append(retry))
        started = time.monotonic()
        assert provider.complete(make_request()).text == PLAN
        assert 1.5 <= time.monotonic() - started < 120
    assert [reason for _, _, reason in told] == ["no reply within 1.5 s"]


def test_a_server_that_keeps_failing_is_unavailable():
    with ScriptedServer([error(503, message="overloaded")] * 3) as server:
        with pytest.raises(ProviderUnavailableError) as caught:
            make_provider(server).complete(make_request())
        address = server.base_url
    assert len(server.requests) == 3
    assert str(caught.value) == (
        f"`qwen2.5` at `{address}` did not answer in 3 tries; the last: HTTP 503: overloaded"
    )


def test_a_closed_port_is_unavailable_and_named():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(ProviderUnavailableError) as caught:
        make_provider(None, api_base=address, retries=1).complete(make_request())
    told = str(caught.value)
    assert told.startswith(f"`qwen2.5` at `{address}` did not answer in 2 tries; the last: ")
    assert told.endswith("Connection refused")
    assert caught.value.exit_code == 75


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        (error(401), "check the key in `SCRIPTED_KEY`"),
        (error(403), "the key may not use this model"),
        (error(404), "check `provider.model` and `provider.api_base`"),
        (error(400), "it would refuse the same request again"),
        (
            error(429, message="You exceeded your current quota", code="insufficient_quota"),
            "the account needs credit, or the request is larger than it may be",
        ),
    ],
)
def test_a_refusal_is_not_tried_again(step, hint):
    with ScriptedServer([step]) as server, pytest.raises(ProviderRefusedError) as caught:
        make_provider(server).complete(make_request())
    assert len(server.requests) == 1
    told = step.body["error"]["message"]
    assert str(caught.value) == (
        f"`qwen2.5` at `{server.base_url}` refuses: HTTP {step.status}: {told}"
    )
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "model", ["anthropic/claude-sonnet-4-5", "gemini/gemini-2.5-flash", "ollama_chat/llama3"]
)
def test_other_clients_of_litellm_fail_in_the_same_ways(model):
    def fail_with(*steps, expect):
        with ScriptedServer(steps) as server:
            provider = make_provider(server, model=model, retries=1, structured="text")
            with pytest.raises(expect) as caught:
                provider.complete(make_request(model=model))
        return server.requests, str(caught.value)

    seen, told = fail_with(
        error(429, retry_after=0.2), error(503, message="busy"), expect=ProviderUnavailableError
    )
    assert seen[1].at_s - seen[0].at_s >= 0.2
    assert "HTTP 503" in told
    seen, told = fail_with(error(401, message=f"no: {KEY}"), expect=ProviderRefusedError)
    assert len(seen) == 1
    assert "HTTP 401" in told
    assert KEY not in told
    _, told = fail_with(drop(), drop(), expect=ProviderUnavailableError)
    assert "did not answer in 2 tries" in told


def test_a_prompt_too_long_is_refused_and_no_simpler_form_is_tried():
    message = "This model's maximum context length is 4096 tokens. However, your schema is longer"
    step = error(400, message=message, code="context_length_exceeded")
    with (
        ScriptedServer([step]) as server,
        pytest.raises(ProviderRefusedError, match="maximum context"),
    ):
        make_provider(server).complete(make_request())
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "step",
    [
        error(401, message=f"Incorrect key: {KEY}"),
        error(500, message=KEY),
        error(400, message="x" * 280 + KEY),  # would be cut in the middle of the key
    ],
)
def test_the_key_is_in_no_error_even_when_the_server_echoes_it(step, caplog, capfd):
    told = []
    with ScriptedServer([step] * 3) as server:
        provider = make_provider(server, on_retry=lambda *retry: told.append(retry))
        with pytest.raises((ProviderRefusedError, ProviderUnavailableError)) as caught:
            provider.complete(make_request())
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY[:8] not in f"{shown} {caught.value!r} {caught.value.hint} {told} {caplog.text}"
    assert caught.value.__context__ is None
    assert capfd.readouterr().out == ""


def test_a_password_in_the_address_is_refused_and_in_no_message(tmp_path, capsys):
    address = "http://user:hunter2@127.0.0.1:8000/v1"
    job = write_job(tmp_path, provider={"model": "tiny", "api_base": address})
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert "`api_base` holds a password; put it into the variable `api_key_env`" in shown.err
    assert "hunter2" not in shown.out + shown.err
    assert not (tmp_path / "out").exists()


def test_a_missing_key_is_named_before_anything_is_spent(monkeypatch):
    monkeypatch.setenv("SCRIPTED_KEY", "  ")
    with ScriptedServer() as server, pytest.raises(InputError) as caught:
        make_provider(server).check()
    assert str(caught.value) == "the model `qwen2.5` needs `SCRIPTED_KEY` in the environment"
    assert server.requests == []


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/gpt-4.1-nano", "OPENAI_API_KEY"),
        ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY"),
    ],
)
def test_without_a_named_key_the_providers_own_variable_is_named(monkeypatch, model, name):
    provider = make_provider(None, model=model, api_key_env=None)
    with pytest.raises(InputError, match=f"needs `{name}` in the environment"):
        provider.check()
    monkeypatch.setenv(name, KEY)
    provider.check()


def test_a_key_that_vanished_is_not_replaced_by_another(monkeypatch):
    monkeypatch.delenv("SCRIPTED_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with ScriptedServer() as server, pytest.raises(InputError, match="needs `SCRIPTED_KEY`"):
        make_provider(server).complete(make_request())
    assert server.requests == []


def test_alternatives_and_empty_keys_are_told(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "")
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with pytest.raises(InputError, match="needs `OPENAI_API_KEY` in"):
        make_provider(None, model="openai/gpt-4.1-nano", api_key_env=None).check()
    with pytest.raises(InputError, match="needs `GOOGLE_API_KEY` or `GEMINI_API_KEY` in"):
        make_provider(None, model="gemini/gemini-2.5-flash", api_key_env=None).check()


@pytest.mark.parametrize("model", ["ollama/llama3", "vertex_ai/gemini-2.5-pro", "lm_studio/any"])
def test_a_model_that_may_need_no_key_passes_the_check(model):
    make_provider(None, model=model, api_key_env=None).check()


def test_a_key_with_a_line_break_inside_is_no_key(monkeypatch):
    monkeypatch.setenv("SCRIPTED_KEY", f"{KEY}\n{KEY}")
    with ScriptedServer() as server, pytest.raises(InputError) as caught:
        make_provider(server).check()
    assert "`SCRIPTED_KEY` is no key" in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_unknown_provider_is_an_input_error_that_names_the_model(capfd):
    with pytest.raises(InputError) as caught:
        make_provider(None, model="foo/bar").check()
    assert str(caught.value) == "litellm knows no provider for the model `foo/bar`"
    assert capfd.readouterr().out == ""


def test_prices():
    assert make_provider(None, model="openai/gpt-4.1-nano").price("openai/gpt-4.1-nano") == (
        1e-07,
        4e-07,
    )
    assert make_provider(None, model="ollama/llama3").price("ollama/llama3") == (0.0, 0.0)
    for unknown in (
        "openai/qwen2.5",
        "ollama/qwen2.5:7b",
        "bedrock/us-east-1/1-month-commitment/anthropic.claude-v2:1",  # billed by the second
        "foo/bar",
    ):
        assert make_provider(None, model=unknown).price(unknown) is None
    given = make_provider(None, price_per_mtok={"input": 3, "output": 15})
    assert given.price("qwen2.5") == pytest.approx((3e-06, 15e-06))


@pytest.mark.parametrize(
    ("spec", "cost"),
    [
        ({"model": "qwen2.5"}, None),
        ({"model": "qwen2.5", "price_per_mtok": {"input": 1, "output": 10}}, 0.0006),
        ({"model": "openai/gpt-4.1-nano"}, 0.00003),
    ],
)
def test_cost_is_what_the_job_or_litellm_says_and_else_unknown(spec, cost):
    with ScriptedServer([reply(PLAN, prompt_tokens=100, completion_tokens=50)]) as server:
        answer = make_provider(server, **spec).complete(make_request(model=spec["model"]))
    assert answer.cost_usd == (None if cost is None else pytest.approx(cost))


def test_counted_tokens_are_rather_too_many():
    provider = make_provider(None)
    row = "| 18-24 | am | 0.0312 | 1,234 |\n"  # 25 tokens where every digit is one
    assert 25 * 400 <= provider.count_tokens(make_request(prompt=row * 400)) <= 40 * 400
    assert provider.count_tokens(make_request(prompt="")) < 100


def test_retry_after_is_seconds_or_a_date_and_has_a_limit():
    waits: list[float] = []

    def fail(value):
        def call():
            raise RetryableError("busy", retry_after_s=parse_retry_after(value))

        with pytest.raises(RetryableError, match="busy"):
            with_retries(call, retries=1, sleep=waits.append)

    fail("7")
    fail(format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True))
    fail("86400")
    fail("soon")
    assert 7 <= waits[0] <= 8
    assert 18 <= waits[1] <= 21
    assert 300 <= waits[2] <= 301
    assert 0.5 <= waits[3] <= 1


def test_waits_double_up_to_a_minute():
    waits: list[float] = []

    def call():
        raise RetryableError("busy")

    with pytest.raises(RetryableError):
        with_retries(call, retries=9, sleep=waits.append)
    for tries, wait_s in enumerate(waits):
        longest = min(2.0**tries, 60)
        assert longest / 2 <= wait_s <= longest


def test_a_stop_while_waiting_ends_the_trying():
    class StopError(BaseException):
        pass

    def stop(_: float) -> None:
        raise StopError

    with ScriptedServer([error(503)]) as server:
        provider = LitellmProvider(
            ProviderSpec(model="qwen2.5", api_base=server.base_url), sleep=stop
        )
        with pytest.raises(StopError):
            provider.complete(make_request())
    assert len(server.requests) == 1


@pytest.mark.slow
def test_importing_and_checking_make_no_connection_and_print_nothing(tmp_path):
    (tmp_path / ".env").write_text("FROM_DOTENV=read\n")
    script = """
        import os, sys
        TALK = {"connect", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr"}
        def blocked(event, args):
            # urllib3 opens a socket, and no more, to see whether the machine has IPv6
            if event.startswith("socket.") and event.removeprefix("socket.") in TALK:
                os.write(2, f"{event}: {args}".encode())
                os._exit(9)  # an exception could be swallowed
        sys.addaudithook(blocked)
        from llmsynthor.job.model import ProviderSpec
        from llmsynthor.llm.providers.base import Request
        from llmsynthor.llm.providers.litellm import LitellmProvider
        model = "groq/llama-3.3-70b-versatile"
        provider = LitellmProvider(ProviderSpec(model=model, api_key_env="SCRIPTED_KEY"))
        provider.check()
        provider.price(model), provider.structured_used
        provider.count_tokens(Request("plan", 0, "s", "p", None, model, 0.8, 64))
        assert "FROM_DOTENV" not in os.environ
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", textwrap.dedent(script)],
        cwd=tmp_path, env={"PATH": "", "PYTHONPATH": ":".join(sys.path), "SCRIPTED_KEY": KEY},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_scripted_server_closes_at_once_while_it_hangs():
    with (
        ScriptedServer([hang(600)]) as server,
        socket.create_connection(
            ("127.0.0.1", int(server.base_url.split(":")[2].split("/")[0]))
        ) as client,
    ):
        body = json.dumps({"model": "m"})
        client.sendall(
            f"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        while not server.requests:
            time.sleep(0.01)
        started = time.monotonic()
        server.__exit__()
        assert time.monotonic() - started < 60
