"""Conversations that chat templates render: ordinary ones, odd ones, and such that a template refuses."""

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Says how the weather is. ",
           "parameters": {"type": "object", "properties": {
               "place": {"type": "string", "description": "A town, \"quoted\" & <tagged>", "enum": ["Köln", "東京"]},
               "days": {"type": "integer", "default": 3}, "exact": {"type": ["number", "null"]}, "on": {"type": "boolean"},
               "list": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}},
               "required": ["place"]}, "return": {"type": "string"}}}  # fmt: skip
EMPTY = {"type": "function", "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def call(name, arguments, number="abcdefghi"):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


CONVERSATIONS = [
    {"messages": [turn("user", "Hello")]},
    {"messages": [turn("user", "Hello"), turn("assistant", "Hi there."), turn("user", "How?"), turn("assistant", "So.")]},
    {"messages": [turn("system", "Be short."), turn("user", "Why?"), turn("assistant", "Because.")]},
    {"messages": [turn("system", "/no_think  Be\n short. /think "), turn("user", "  spaces \n\n around\t\n"), turn("assistant", "\n\nand here  \r\n")]},
    {"messages": [turn("user", ""), turn("assistant", "")]},
    {"messages": [turn("user", "ünïcödé 🙂 \u2028 \u00a0x\u3000 ＡＢ <s> </s> <unk>"), turn("assistant", "日本語\u200b e\u0301 ß ﬁ Σίσυφος")]},
    {"messages": [turn("user", "{{ bos_token }} {% if x %} {# no #}"), turn("assistant", "it's \"quoted\" \\ and <b>&amp;</b>")]},
    {"messages": [turn("user", "2+2?"), turn("assistant", "<think>\nfour\n</think>\n\n4"), turn("user", "sure?"), turn("assistant", "<think>again</think>yes")]},
    {"messages": [turn("user", "2+2?"), turn("assistant", "4", reasoning_content="\nI add\n"), turn("user", "<tool_response>x</tool_response>"),
                  turn("assistant", "ok", reasoning_content=None)]},
    {"messages": [turn("user", "one"), turn("user", "two")]},
    {"messages": [turn("assistant", "first")]},
    {"messages": [turn("system", "only rules")]},
    {"messages": [turn("user", "a"), turn("critic", "b")]},
    {"messages": [{"role": "user"}, {"role": "assistant"}]},
    {"messages": [{"content": "no role"}]},
    {"messages": [turn("user", None), turn("assistant", None)]},
    {"messages": [turn("user", 3), turn("assistant", 4.5)]},
    {"messages": [turn("user", [{"type": "text", "text": " part one "}, {"type": "image"}, {"type": "text", "text": "two"}]), turn("assistant", "seen")]},
    {"messages": [turn("system", [{"type": "text", "text": "rules"}]), turn("user", [{"type": "text", "text": "hi"}])]},
    {"messages": [turn("system", "s", tools="[1]"), turn("user", "u", metadata="meta"), turn("assistant", "a", tools=[WEATHER])]},
    {"messages": [turn("user", "Weather?")], "tools": [WEATHER, EMPTY]},
    {"messages": [turn("user", "Weather?")], "tools": []},
    {"messages": [turn("system", "Use tools"), turn("user", "Weather?"),
                  turn("assistant", None, tool_calls=[call("get_weather", {"place": "Köln", "days": 2, "exact": 0.1, "on": True, "list": [["a"], []], "none": None})]),
                  turn("tool", "sunny", name="get_weather", tool_call_id="abcdefghi"), turn("assistant", "It is sunny.")], "tools": [WEATHER]},
    {"messages": [turn("user", "Weather?"), turn("assistant", "wait", tool_calls=[call("get_weather", {"place": "東京"}), call("now", {}, "123456789")]),
                  turn("tool", "rain", tool_call_id="abcdefghi"), turn("tool", {"content": {"t": 1e-7, "big": 1.5e20 if False else 123456789012345}}, tool_call_id="123456789"),
                  turn("assistant", "Rain.")], "tools": [EMPTY, WEATHER]},
    {"messages": [turn("user", "x"), turn("assistant", "", tool_calls=[call("now", "{\"as\": \"text\"}", "1")]), turn("tool", ["a", 1, None, True, 2.50, {"k": "'"}])]},
    {"messages": [turn("user", "x"), turn("assistant", "y")], "variables": {"enable_thinking": False, "use_rules": True, "builtin_tools": ["shell", "web"], "controls": {"length": "long"}}},
    {"messages": [turn("user", "x"), turn("assistant", "y", tool_calls=[call("web", {"q": "z"})])], "variables": {"builtin_tools": ["web"], "thinking": True, "bos_token": "[B]"}},
    {"messages": [turn("user", "x")], "tools": [WEATHER], "variables": {"tools_in_user_message": False, "custom_tools": [EMPTY], "xml_tools": [EMPTY]}},
    {"messages": [turn("user", "\x1c\x85 control \x7f\u001f\x00 end"), turn("assistant", "a\u2029b\vc\fd")]},
]  # fmt: skip
