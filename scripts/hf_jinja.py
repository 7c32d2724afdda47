"""jinja2 set up as Hugging Face's apply_chat_template does it (transformers, chat_template_utils.py):
the reference that the engine in src/jinja is compared with. Two things are more than Hugging Face has,
as templates that were made for other servers need them: methods that change lists and dictionaries
(Hugging Face's sandbox forbids append and pop), and the filter from_json. `is_strict` leaves both out.
Used by golden_templates.py and check_templates. Needs the Python package jinja2."""
import copy
import datetime
import functools
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment


class Generation(jinja2.ext.Extension):
    """{% generation %}…{% endgeneration %}: a call block that returns its body."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    """Without names that begin with an underscore."""

    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"not on a namespace: {name}")


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def environment(now, is_strict=False):
    """`now`: what strftime_now shows, in seconds of UTC."""
    env = (ImmutableSandboxedEnvironment if is_strict else SandboxedEnvironment)(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc).replace(tzinfo=None)
    env.filters["tojson"] = tojson
    if not is_strict:
        env.filters["from_json"] = json.loads
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = moment.strftime
    env.globals["namespace"] = Namespace
    return env


@functools.lru_cache
def compiled(source, now, is_strict=False):
    return environment(now, is_strict).from_string(source)


def render(source, context, now, is_strict=False):
    """(text, None), or (None, the error's name and text). A template may change the context."""
    try:
        text = compiled(source, now, is_strict).render(**copy.deepcopy(context))
        text.encode()  # half a surrogate pair is a character for Python, and no text for anybody else
        return text, None
    except Exception as error:  # whatever it is, a template of ours must fail, too
        return None, f"{type(error).__name__}: {error}"
