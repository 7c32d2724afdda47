"""The cases of golden_templates.py and check_templates: small templates over one context, and
conversations for whole chat templates."""
import itertools

CONTEXT = {
    "n": 7, "f": 2.5, "neg": -3, "big": 9007199254740993, "t": True, "no": False, "nothing": None,
    "s": "Hello, World", "empty": "", "pad": "  padded \t\n", "u": "Grüße, 世界 🎉é", "quote": "it's \"q\"\\",
    "lines": "one\ntwo\n\nthree\n", "ctrl": "a\x00b\x1f\x7f\u2028\u00a0c", "html": "<a href='x'>&\"</a>",
    "words": "the quick brown fox", "csv": "a,b,,c", "think": "<think>\nhm\n</think>\n\nanswer",
    "l": [3, 1, 2], "strs": ["b", "a", "C", "ä"], "mixed": [1, "two", 3.0, None, True, [4], {"k": "v"}],
    "nested": [[1, 2], [3, 4], [5]], "el": [], "ed": {},
    "d": {"b": 1, "a": "x", "C": None, "items": "shadow", "list": [1, 2], "sub": {"deep": {"er": "found"}}},
    "users": [
        {"name": "Ann", "age": 30, "city": "Rome", "active": True},
        {"name": "bob", "age": 25, "city": "rome", "active": False},
        {"name": "Cid", "age": 35, "city": "Oslo", "active": True, "tags": ["x", "y"]},
        {"name": "dee", "age": 30, "city": "Oslo"},
    ],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": "z"}}}]},
        {"role": "tool", "content": "42"},
    ],
    "floats": [0.1, 1e16, 1.5e-7, 123456789.125, 1e22, -0.0, 100.0, 0.0001, 0.00001, 1e15, 5e-324,
               1.7976931348623157e308],
    "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}],
}

# Each line is one expression, printed.
EXPRESSIONS = r"""
1 + 2 * 3
(1 + 2) * 3
2 ** 3 ** 2
-2 ** 2
2 ** -1
2 ** 0.5
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 // 2
7.5 % 2
-7.5 % 2
7.5 % -2
7 / 2
6 / 2
1 / 3
1e3
1_000
0x1F
0b101
0o17
0x_ff
1.5e-3
1e400
1 - -1
- - 1
+5
-neg
-n|abs
(-n)|abs
1 / 0
1 // 0
1 % 0
1.0 / 0
0 ** -1
n + f
n * f
t + t
-t
t * 3
n + 'a'
'a' + n
'a' + 'b'
'a' * 3
3 * 'ab'
'a' * -1
[1] + [2]
(1,) + (2,)
[1] + (2,)
[0] * 3
'a' ~ 1 ~ none ~ true ~ 2.0
'a' ~ undefinedvar ~ 'b'
'a' ~ [1, 'b'] ~ {'c': none}
1 ~ 2 + 3
1 + 2 ~ 3
'a' ~ 'b' * 2
n == 7
n != 7
n == 7.0
1 == true
0 == false
'1' == 1
none == false
[1, 2] == [1, 2.0]
[1, 2] == (1, 2)
{'a': 1} == {'a': 1.0}
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
undefinedvar == undefined2
undefinedvar == none
undefinedvar != none
1 < 2 < 3
1 < 2 > 3
1 < 3 > 2
3 > 2 > 1 > 0
'a' < 'b'
'a' < 'B'
'é' > 'z'
[1, 2] < [1, 3]
[1] < [1, 0]
(1, 'a') < (1, 'b')
1 < 'a'
none < 1
[1] < (2,)
undefinedvar < 1
true < 2
1 in [1, 2]
1.0 in [1, 2]
'a' in 'cat'
'' in 'cat'
1 in 'cat'
'b' in d
'zz' in d
'zz' not in d
not 'zz' in d
[1] in [[1], 2]
none in [none]
undefinedvar in [1]
'a' in undefinedvar
1 in 5
[1] in d
3 in range(5)
3.0 in range(5)
5 in range(5)
3 in range(0, 10, 2)
not true
not []
not 1 == 2
true and false
true and 'x'
'' and 'x'
'' or 'x'
0 or none or 'last'
true or undefinedvar.x
false and undefinedvar.x
not false or false
1 and 2 or 3
1 or 2 and 3
not not n
'y' if t else 'n'
'y' if no else 'n'
'y' if no
('y' if no) is defined
'a' if no else 'b' if no else 'c'
('y' if no) ~ '!'
('y' if no).x
1 if true else 2 if true else 3
n is defined
undefinedvar is defined
undefinedvar is undefined
d.zz is defined
d.zz.y is defined
undefinedvar.x is defined
none is none
nothing is none
n is not none
n is number
f is number
t is number
s is number
n is integer
t is integer
f is integer
f is float
n is float
s is string
n is string
undefinedvar is string
t is boolean
n is boolean
t is true
no is false
1 is true
d is mapping
l is mapping
undefinedvar is mapping
l is sequence
s is sequence
d is sequence
(1,2) is sequence
n is sequence
undefinedvar is sequence
d.keys() is sequence
range(3) is sequence
l is iterable
s is iterable
d is iterable
n is iterable
none is iterable
undefinedvar is iterable
d.keys() is iterable
range is callable
s is callable
s.upper is callable
n is odd
n is even
8 is even
2.0 is even
'a' is odd
9 is divisibleby 3
9 is divisibleby(4)
9 is divisibleby 0
n is eq 7
n is equalto 7
n is ne 7
n is gt 5
n is lt 5
n is ge 7
n is le 6
n is greaterthan 6
n is lessthan 6
'a' is in 'abc'
'a' is in ['a']
'x' is not in ['a']
1 is in [1] and true
'abc' is lower
'ABC' is upper
'aBC' is upper
'123' is upper
1 is sameas 1
true is sameas true
1 is sameas true
none is sameas none
l is sameas l
[] is sameas []
'upper' is filter
'batch\0\0\0' is filter
'\0' is filter
'odd\0' is test
s['upper\0\0\0']
'%\0' % 1
'{:\0}'.format(1)
'a\0b'.split('\0')
'\0' * 2 + 'a'
{'a\0': 1}['a\0']
'nofilter' is filter
'odd' is test
'notest' is test
n is notest
s is escaped
1 is odd is even
n is defined and s is defined
n is defined or false
not n is defined
n is defined == true
(n is defined) == true
l is not string and l is iterable
n is eq(7)
n is eq 7 and t
n is divisibleby 7 ~ 'x'
n if n is defined else 'q'
l[0]
l[-1]
l[3]
l[-4]
l[true]
l['x']
l[0.0]
l[none]
l.0
nested.0.1
nested[1][0]
s[0]
s[-1]
s[99]
u[7]
u[-1]
d['a']
d.a
d.zz
d['zz']
d['items']
d.list
d.sub.deep.er
d['sub']['deep']['er']
d.sub.nope.er
d.nope.er
d[1]
d[[1]]
d[none]
n.x
none.x
none['x']
true.foo
none.x.y
undefinedvar
undefinedvar.x
undefinedvar['x']
undefinedvar[0]
undefinedvar()
undefinedvar(1).x
s.nope
s.nope()
n()
s()
l.appended
l.append(1)
d.update({'x': 1})
d.pop('a')
d.clear()
l.sorted()
l.append is defined
s.__class__
s.__class__.__mro__
''['__class__']
l[1:]
l[:1]
l[:]
l[::-1]
l[::2]
l[-2:]
l[:-1]
l[5:]
l[2:1]
l[::-2]
l[1::-1]
l[-1:-3:-1]
l[::0]
l['a':]
l[none:2]
l[true:]
l[:100]
l[-100:]
l[-100:100:2]
s[1:4]
s[::-1]
s[-5:]
s[7:]
s[::3]
s[-1:-6:-2]
u[7:9]
u[::-1]
u[2:8:2]
(1,2,3)[1:]
(1,2,3)[::-1]
range(10)[2:5]|list
range(10)[::-3]|list
range(10)[-1]
range(10)[10]
n[1:]
d[1:]
undefinedvar[1:]
'abc'[9223372036854775807:]
'abc'[-9223372036854775807:]
'abc'[::9223372036854775807]
'abc'[::-9223372036854775807]
[1, 2, 3,]
[]
{}
()
(1,)
(1, 2)
1, 2
{'a': 1, 'b': [1, 2], 'c': {'d': none}}
{'a': 1,}
{1: 2, true: 3}
{1: 'a', 1.0: 'b'}
{none: 1, 2.5: 2, (1, 2): 3}
{[1]: 2}
{'a': 1}['a']
{'it\'s': "say \"hi\""}
{'a': 1}.a
[1, 'a', "it's", 'q"', 'b\'"', none, true, 1.0]
['\n\t\\', '\x00\x1f\x7f', 'é世🎉', '\u200b\ufeff', '\xa0']
mixed
d
ctrl
[ctrl]
[u]
[quote]
floats
floats|tojson
floats|join(' ')
0.1 + 0.2
1e100
1e16
123456789012345680.0
12345678.9
1e-5
100000.0 * 100000.0
3.0
-0.0
1e15 + 0.3
'a' 'b' "c"
'\x41\u0042\U00000043\103\0'
'\n' == '''
'\q\''
"\"'"
'tab\there'
'\ud83d'
'\x4'
"multi
line"
true
True
none
None
false
n|string ~ 'x'
s|upper
s|lower
u|upper
u|lower
'straße'|upper
'ÄÖÜ'|lower
s|title
'hello-world foo(bar) [baz] {qux} <x> it\'s 3rd'|title
'hello world it\'s'.title()
'hELLO wORLD'|capitalize
'ÉCOLE'|capitalize
n|upper
none|upper
undefinedvar|upper
pad|trim
'xxhixx'|trim('x')
'xyhiyx'|trim('xy')
'  a '|trim ~ '|'
n|trim
undefinedvar|trim
none|trim
s|length
u|length
l|length
d|length
n|length
none|length
undefinedvar|length
l|count
range(4)|length
html|escape|escape|length
html|safe + '<b>'
'<b>' + html|safe
html|safe ~ '<b>'
(html|safe ~ '') + '<b>'
(html|safe)[:3] + '<'
(pad|safe)|trim + '&'
(s|safe)|upper + '<'
(html|safe) * 2 + '<'
(html|safe) + n
html|safe is escaped
html|escape == html|e
html|e|forceescape
[html|safe]
[html|safe]|tojson
(html|safe)|string + '<'
s|replace('l', 'L')
s|replace('l', 'L', 1)
s|replace('l', 'L', count=2)
s|replace('', '-')
s|replace('zz', '-')
s|replace('o', '')
n|replace(7, 8)
undefinedvar|replace('a', 'b')
s|replace('l')
l|join
l|join(', ')
l|join(d='-')
users|join(', ', attribute='name')
mixed|join('|')
s|join('.')
undefinedvar|join(',')
n|join
d|join(',')
l|join(1)
l|first
l|last
el|first
el|first is defined
el|last
s|first
s|last
d|first
undefinedvar|first
n|first
(l|map('string'))|first
l|map('string')|last
l|reverse|list
s|reverse
n|reverse
d|reverse|list
s|list
u|list
d|list
n|list
undefinedvar|list
(1,2)|list
undefinedvar|default('x')
undefinedvar|d('x')
undefinedvar|default
none|default('x')
none|default('x', true)
''|default('x', true)
''|default('x', boolean=true)
''|default('x')
d.zz|default('y')
d.zz.a|default('y')
n|default('x')
(undefinedvar|default({})).x is defined
l|sort
l|sort(reverse=true)
l|sort(true)
strs|sort
strs|sort(case_sensitive=true)
users|sort(attribute='age')|map(attribute='name')|list
users|sort(attribute='age,name')|map(attribute='name')|list
users|sort(attribute='city,age', reverse=true)|map(attribute='name')|list
mixed|sort
users|sort
'hello'|sort
d|sort
d|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort
{'b': 1, 'A': 2, 'c': 0}|dictsort(true)
{'b': 1, 'A': 2, 'c': 0}|dictsort(by='value')
{'b': 1, 'A': 2, 'c': 0}|dictsort(false, 'value', true)
{'b': 1}|dictsort(by='x')
l|dictsort
users|map(attribute='name')|list
users|map(attribute='tags', default='none')|list
users|map(attribute='tags.0')|list
users|map(attribute='tags')|list
users|map(attribute='nope')|list
users|map('upper')|list
l|map('string')|list
strs|map('upper')|join
strs|map('replace', 'a', 'X')|list
strs|map('default', 'x')|list
l|map('nofilter')|list
el|map('nofilter')|list
l|map|list
l|map(attribute='x', foo=1)|list
undefinedvar|map('upper')|list
n|map('upper')|list
l|map('round', 1)|list
nested|map('sum')|list
nested|map(attribute=0)|list
nested|map('first')|list
users|selectattr('active')|map(attribute='name')|list
users|selectattr('age', 'gt', 28)|map(attribute='name')|list
users|selectattr('age', 'equalto', 30)|list|length
users|selectattr('tags', 'defined')|list|length
users|rejectattr('active')|map(attribute='name')|list
users|rejectattr('age', '>', 28)|map(attribute='name')|list
users|selectattr('name', 'in', ['Ann', 'Cid'])|map(attribute='age')|list
users|selectattr|list
users|selectattr('a.b')|list
l|select('odd')|list
l|select('gt', 1)|list
l|reject('gt', 1)|list
mixed|select|list
mixed|select('string')|list
mixed|reject('none')|list
l|select('notest')|list
el|select('notest')|list
(l|select('odd'))|length
(l|select('odd'))|tojson
(l|select('odd'))[0]
(el|select('odd')) and 'truthy'
messages|selectattr('role', 'equalto', 'user')|first
(messages|selectattr('role', 'equalto', 'user')|first).content
(messages|selectattr('role', 'equalto', 'nobody')|first)
(messages|selectattr('role', 'equalto', 'nobody')|first).content
d|items|list
undefinedvar|items|list
l|items|list
(d|items|list)[0]
strs|unique|list
['a', 'A', 'b', 'a']|unique|list
['a', 'A', 'b', 'a']|unique(true)|list
[1, 1.0, true, 2]|unique|list
users|unique(attribute='city')|map(attribute='name')|list
nested|unique|list
users|groupby('city')
users|groupby('city')|map(attribute='grouper')|list
(users|groupby('city'))[0].list|length
(users|groupby('city'))[0][0]
users|groupby('city', case_sensitive=true)|map('first')|list
users|groupby('active', default=false)|map('first')|list
users|groupby('age')|map('last')|map('length')|list
l|batch(2)|list
l|batch(2, 'x')|list
l|slice(2)|list
l|slice(2, 'x')|list
l|min
l|max
strs|min
strs|max
strs|max(case_sensitive=true)
users|max(attribute='age')
el|min
mixed|max
l|sum
nested|sum(start=[])
users|sum(attribute='age')
[0.1, 0.2, 0.3]|sum
['a']|sum
el|sum
'42'|int
'42.7'|int
' 42 '|int
'-1_000'|int
'x'|int
'x'|int(5)
'x'|int(default=none)
'ff'|int(base=16)
'0xff'|int(0, 16)
'0b11'|int(0, 2)
'z'|int(0, 36)
none|int
none|int(3)
true|int
2.9|int
-2.9|int
[]|int
undefinedvar|int
'1e3'|int
'inf'|int
'42'|float
'4.5e1'|float
' 1_0.5 '|float
'x'|float
'x'|float(1)
none|float
'nan'|float
'-inf'|float
'infinity'|float
n|float
undefinedvar|float
'0x10'|float
'1.'|float
'.5'|float
'.'|float
2.5|round
3.5|round
2.567|round(2)
2.675|round(2)
-2.5|round
1234.5|round(-2)
1250|round(-2)
1350|round(-2)
-1250|round(-2)
7|round
7|round(1)
2.1|round(method='ceil')
2.9|round(0, 'floor')
42.55|round(1, 'floor')
42.51|round(1, 'ceil')
2.5|round(method='x')
'a'|round
true|round
-5|abs
-5.5|abs
true|abs
'a'|abs
html|escape
html|e
html|safe
n|escape
html|forceescape
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, true, true)
lines|indent(width='> ')
lines|indent(0)
''|indent
''|indent(2, true)
'a\r\nb\x0bc\u2028d'|indent(1)
n|indent
words|wordcount
'a b_c d-e'|wordcount
words|truncate(9)
words|truncate(9, true)
words|truncate(12, false, '…')
words|truncate(18)
words|truncate(12, leeway=0)
words|truncate(2)
words|center(30) ~ '|'
'ab'|center(5) ~ '|'
'abc'|center(6) ~ '|'
'a b/c?d=é'|urlencode
{'a b': 'c&d', 'e': 1}|urlencode
"%s and %d and %5.2f|%-5s|%05d|%+d|%x|%X|%o|%r|%%"|format('a', 3, 2.345, 'b', 42, 5, 255, 255, 8, 'q')
'%(a)s %(b)d'|format(a='x', b=2)
'%s'|format
'%s %s'|format(1)
'%s'|format(1, 2)
'%d'|format('x')
'%s' % 'a'
'%s %s' % ('a', 1)
'%s' % [1, 2]
'%s' % {'a': 1}
'%(k)s' % {'k': 'v'}
'%d%%' % 5
'%.3s|%10s|%-10s|' % ('abcdef', 'r', 'l')
'%e %g %G' % (1234.5, 0.00001, 1e20)
'%s' % none
'%c' % 'a'
'abc' % 1
'abc' % []
'%*d' % (5, 3)
'%.2f' % 1
'%i' % 3.99
'%x' % -255
'%#x %#o' % (255, 8)
'% d' % 5
'%s' % undefinedvar
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{a} {b.x} {c[0]} {c[k]}'.format(a=1, b={'x': 2}, c={'k': 3})
'{x[0]}{x[1]}'.format(x=l)
'{{}} {}'.format(1)
'{:>5}|{:<5}|{:^5}|{:*^7}|'.format('a', 'b', 'c', 'd')
'{:5}|{:05d}|{:+d}|{:,}|{:x}|{:#x}|{:b}|{:o}'.format(3, 42, 5, 1234567, 255, 255, 5, 8)
'{:.2f}|{:8.3f}|{:e}|{:.1%}|{:,.2f}'.format(3.14159, 2.5, 12345.678, 0.256, 1234567.891)
'{!r} {!s}'.format('a', 'b')
'{}'.format()
'{'.format()
'}'.format()
'{a}'.format()
'{:d}'.format('x')
'{}'.format(none)
'{:>4}'.format(none)
'{:.2}'.format('abc')
d|tojson
mixed|tojson
u|tojson
u|tojson(ensure_ascii=true)
quote|tojson
ctrl|tojson
html|tojson
none|tojson
true|tojson
n|tojson
f|tojson
big|tojson
1e100|tojson
d|tojson(indent=2)
d|tojson(indent=4)
d|tojson(indent=0)
d|tojson(indent='\t')
mixed|tojson(indent=2)
ed|tojson(indent=2)
el|tojson(indent=2)
[[], {}]|tojson(indent=1)
d|tojson(separators=(',', ':'))
d|tojson(separators=[',', ': '])
d|tojson(indent=2, separators=(',', ':'))
d|tojson(separators=(',',))
d|tojson(sort_keys=true)
users|tojson(sort_keys=true)
{1: 2, none: 3, true: 4, 2.5: 5}|tojson
{(1, 2): 3}|tojson
{1: 2, 'a': 3}|tojson(sort_keys=true)
(1, 2)|tojson
undefinedvar|tojson
[undefinedvar]|tojson
range(3)|tojson
d.items()|tojson
namespace(a=1)|tojson
'nan'|float|tojson
'-inf'|float|tojson
d|tojson(foo=1)
d|tojson|length
d|nofilter
d|attr('items') is callable
d|attr('a')
s|attr('upper')()
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
pad.strip() ~ '|'
pad.lstrip() ~ '|'
pad.rstrip() ~ '|'
'xxaxx'.strip('x')
'xyaxy'.lstrip('yx')
'xyaxy'.rstrip('yx')
'a'.strip(none)
'a'.strip(1)
'\u3000a\u2003'.strip()
'éaé'.strip('é')
'<|x|>'.strip('<|>')
csv.split(',')
csv.split(',', 1)
csv.split(',', -1)
csv.split(sep=',', maxsplit=2)
words.split()
words.split(none, 2)
' a  b '.split()
' a  b '.split(' ')
' a  b  c '.split(none, 1)
''.split()
''.split(',')
'a'.split('')
csv.rsplit(',', 1)
csv.rsplit(',')
words.rsplit(none, 1)
' a  b  c '.rsplit(none, 1)
' a  b '.rsplit()
think.split('</think>')[-1].lstrip('\n')
think.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'abc'.partition('')
lines.splitlines()
lines.splitlines(true)
'a\r\nb\rc\x0cd\u2028e'.splitlines()
''.splitlines()
s.startswith('Hell')
s.startswith('ell')
s.startswith(('x', 'H'))
s.startswith('ell', 1)
s.startswith('', 99)
s.startswith('ell', 1, 3)
s.startswith(1)
s.startswith(['H'])
s.endswith('ld')
s.endswith(('x', 'World'))
s.endswith('o', 0, 5)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.find('')
s.find('', 99)
u.find('世')
u.find('é')
u.rfind('e')
s.index('W')
s.index('zz')
s.rindex('o')
s.count('l')
s.count('')
s.count('l', 3)
'aaa'.count('aa')
s.replace('l', 'L')
s.replace('l', 'L', 2)
s.replace('l', 1)
', '.join(['a', 'b'])
', '.join(l)
', '.join('abc')
''.join([])
'-'.join(d)
s.removeprefix('Hello')
s.removesuffix('World')
s.removeprefix('x')
'7'.zfill(3)
'-7'.zfill(4)
'x'.center(5, '*')
'x'.center(4, '*')
'xy'.center(5, '*')
'x'.ljust(3) ~ '|'
'x'.rjust(3, '.') ~ '|'
'x'.rjust(3, '..')
'abc'.isalpha()
'ab1'.isalpha()
'ab1'.isalnum()
'123'.isdigit()
'12a'.isdigit()
''.isdigit()
'½'.isnumeric()
'  '.isspace()
'ABC'.isupper()
'abc'.islower()
'aB'.islower()
'1'.islower()
'É'.isupper()
d.get('a')
d.get('zz')
d.get('zz', 5)
d.get('C', 5)
d.get()
d.get([1])
d.keys()
d.values()
d.items()
ed.keys()
d.keys()|list
d.values()|list|length
d.items()|list|first
d.keys()[0]
d.items()|length
d.keys()|first
'a' in d.keys()
('a', 'x') in d.items()
d.copy() == d
l.index(2)
l.index(9)
l.count(1)
(1, 2, 1).count(1)
(1, 2).index(2)
range(3)
range(1, 5, 2)
range(3)|list
range(2, 5)|list
range(5, 0, -2)|list
range(0)|list
range(-1)|list
range('a')
range(1, 2, 0)
range(100001)
range(100000)|length
range(3)|join
range(3) == range(3)
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([['a', 1], ('b', 2)])
dict(d.items()).a
dict(1)
dict([1])
dict()
namespace(a=1).a
namespace(a=1).b
namespace({'a': 2}).a
namespace(a=1)['a']
namespace(_a=1)
namespace(a=1)
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%A %H:%M')
strftime_now('')
strftime_now()
raise_exception('boom')
raise_exception()
raise_exception('a ' ~ n)
joiner()()
joiner('|')() ~ '.'
cycler('a', 'b').next()
cycler()
loop
loop is defined
n if
n +
(n
n)
[1, 2
{'a' 1}
n | 
n.
n..x
n is
'unclosed
n ? 1
n $ 1
a b
1 2
007
1.5.2
n = 1
*l
f(**d)
range(*[1, 4])|list
range(*l, 1)
dict(**{'a': 1})
dict(**{'a': 1}, b=2)
dict(a=1, a=2)
dict(a=1, 2)
dict(b=2, **{'a': 1})
dict(*[{'q': 1}], **{'w': 2})
s.replace(*['l', 'L'])
[1,,2]
d|tojson()
d | tojson
d|tojson|upper|lower|length
(d|tojson)[0]
s|upper()|lower()
s|length > 3
s|length + 1
-1|abs
1 + l|length
not s|length
'a' ~ l|length ~ 'b'
l|length == 3 and s|length == 12
(l|length)|string + 'x'
[l|length, s|upper]
{'a': l|length}
s[l|length]
l[0] if l else none
l[n - 7]
users[0]['na' ~ 'me']
users[-1].name
users|length - 1
messages[-1]['role'] == 'tool' and messages[-1].content
messages[2].tool_calls[0].function.arguments.y
messages[2].tool_calls[0].function.arguments|tojson
messages[2]['tool_calls'] is defined and messages[2]['tool_calls'] is not none
messages[0].tool_calls is defined
messages[0].tool_calls
messages[0]['tool_calls'][0]
messages[1:][0]['content']
messages|length > 1 and messages[0]['role'] == 'system'
""".strip("\n")

STATEMENTS = [
    "", "\n", "\n\n", "a\n", "a\n\n", "a\r\nb\rc\r\n", "{{ n }}\n", "  {{ n }}  \n  ",
    "{{ '{{' }}", "{{ '}}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{{'a': 1}['a']}}", "{ {n} }", "{{n}}}", "{%if n%}x{%endif%}",
    "{# c #}x", "x {# c #}\ny", "{# a {{ n }} {% if %} #}z", "  {# c #}\n  x", "a {#- c -#} b", "a\n {#+ c +#}\n b", "{# unclosed",
    "{#-#}x", "{##}x", "{#+#}\nx", "a{# c #}{# d #}\n\nb",
    "{% raw %}{{ n }}{% endraw %}", "{% raw %}\n  {% if %}\n{% endraw %}\nx", "a {%- raw -%} b {%- endraw -%} c", "{% raw %}",
    "x{% raw %} {# #} {% endraw %}y", "  {% raw %}a{% endraw %}\n  b", "{%+ raw %}a\n  {%+ endraw +%}\nb",
    "{% if n %}\n  yes\n{% endif %}\n", "a\n  {% if n %}\n  b\n  {% endif %}\nc", "a\n  {%+ if n %}\n  b\n  {%+ endif %}\nc",
    "a {% if n %} b {% endif %} c", "a {%- if n -%} b {%- endif -%} c", "a\n\n{%- if n -%}\n\n b \n\n{%- endif -%}\n\nc",
    "a\n{% if n +%}\nb\n{% endif +%}\nc", "\t{% if n %}x{% endif %}\n\ty", "a \t {% if n %}x{% endif %}", "{{ n }}  {% if n %}x{% endif %}",
    "{{- n -}}  x", "  {{- n }}  x  {{ n -}}  ", "a\u00a0{%- if n -%}\u2003b{% endif %}", "x\n {{ n }}\n y", "x\n {{+ n }}", "{{ -n }}", "{{- -n }}",
    "{% if no %}a{% elif n == 7 %}b{% else %}c{% endif %}", "{% if no %}a{% elif no %}b{% else %}c{% endif %}", "{% if undefinedvar %}a{% endif %}",
    "{% if n, %}x{% endif %}", "{% if n if no else no %}x{% endif %}", "{% if %}x{% endif %}", "{% if n %}x", "{% if n %}x{% else %}y", "{% endif %}",
    "{% if n %}{% endfor %}", "{% else %}", "{% if n: %}x{% endif %}", "{% unknown %}", "{% %}", "{%", "{{", "{{ n", "{{ }}", "{% if n }}x{% endif %}",
    "{% if n %}{% if no %}a{% else %}b{% endif %}c{% endif %}", "{% if n %}a{% endif %}{% if no %}b{% endif %}\n{% if n %}\nc\n{% endif %}\nd",
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in [] %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}-{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for x in l %}{{ loop.nope }}{% endfor %}", "{% for x in l %}{{ loop.nope.x }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }} {% endfor %}", "{% for x in l if x > 1 %}{{ loop.length }}{{ loop.revindex }} {% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}", "{% for x in l if x > 1 %}{{ loop.previtem }}/{{ loop.nextitem }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}",
    "{% for k, v in d|dictsort %}{{ k }};{% endfor %}", "{% for a, b in nested %}{{ a }}{% endfor %}", "{% for a, b in nested[:2] %}{{ a }}{{ b }};{% endfor %}",
    "{% for (a, b) in nested[:2] %}{{ a }}{% endfor %}", "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a in 5 %}{% endfor %}",
    "{% for a in none %}{% endfor %}", "{% for a in undefinedvar %}x{% else %}empty{% endfor %}", "{% for c in 'aé世' %}[{{ c }}]{% endfor %}",
    "{% for i in range(3) %}{% for k in range(2) %}{{ loop.index }}{{ i }}{{ k }} {% endfor %}{{ loop.index }};{% endfor %}",
    "{% for x in l %}{% if loop.first %}f{% endif %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\n", "<{% for x in l %} {{- x -}} {% endfor %}>",
    "{% for x in range(5) %}{% if x == 3 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in range(5) %}{% if x % 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in range(3) %}{% break %}{% else %}else{% endfor %}", "{% for x in range(3) %}{% continue %}{% else %}else{% endfor %}",
    "{% for x in range(3) %}{% if x == 1 %}{% break %}{% endif %}{% else %}else{% endfor %}", "{% break %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in range(3) %}{% for y in [] %}{% else %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}{% endfor %}",
    "{% for x in range(2) %}{% set y %}{{ x }}{% continue %}{% endset %}{% endfor %}done", "{% for x in l %}{% set x = x + 1 %}{{ x }}{% endfor %}",
    "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for x in l %}{{ loop }}{% break %}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% for i in l %}{% set x = i %}{{ x }}{% endfor %}{{ x }}", "{% for i in l %}{% set x = (x|default(0)) + i %}{{ x }} {% endfor %}",
    "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}",
    "{% for i in l %}{{ y is defined }}{% set y = 1 %} {% endfor %}", "{% for i in l %}{% if i == 1 %}{% set y = 'set' %}{% endif %}{{ y }} {% endfor %}",
    "{% if n %}{% set z = 1 %}{% endif %}{{ z }}", "{% if no %}{% set z = 1 %}{% endif %}{{ z }}|{{ z is defined }}", "{% if no %}{% set n = 1 %}{% endif %}{{ n }}",
    "{% set n = n + 1 %}{{ n }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [3, 4] %}{{ a }}{{ b }}", "{% set a, b = 1 %}", "{% set a, b = 1, 2, 3 %}",
    "{% set a = 1, 2 %}{{ a }}", "{% set a = %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set a.b = 2 %}", "{% set d.b = 2 %}", "{% set d['b'] = 2 %}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{% set ns.b = ns.a + 1 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}", "{% set ns = namespace() %}{% set ns._a = 1 %}",
    "{% set ns = namespace(found=false) %}{% for m in messages if not ns.found %}{{ m.role }};{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}",
    "{% set ns = namespace(found=false) %}{% for m in messages if not ns.found %}{{ loop.last }};{% if m.role == 'user' %}{% set ns.found = true %}{% endif %}{% endfor %}",
    "{% set ns = namespace(a=1) %}{% set ns.a, b = 5, 6 %}{{ ns.a }}{{ b }}", "{% set x %}hello {{ n }}{% endset %}[{{ x }}]", "{% set x | upper %}hello{% endset %}{{ x }}",
    "{% set x | upper | replace('L', '1') %}hello{% endset %}{{ x }}", "{{ n }}{% set x | replace('l', n) %}hello{% endset %}{{ x }}", "{#", "{% raw %}\n", "{% macro m(caller=2) %}{{ caller }}{% endmacro %}{{ m(caller=1) }}{{ m() }}", "{% set x %}\n  a\n{% endset %}\n[{{ x }}]",
    "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}", "{% set ns = namespace() %}{% set ns.x %}blk{% endset %}{{ ns.x }}", "{% set x | nofilter %}{% endset %}",
    "{% macro m() %}x{% endmacro %}{{ m() }}{{ m() }}", "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(3) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{{ varargs|join(',') }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m(a) %}{% for k, v in kwargs.items() %}{{ k }}{{ v }}{% endfor %}{% endmacro %}{{ m(1, q=2) }}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ n }}{% endcall %}", "{% macro m() %}[{{ caller(1, 2) }}]{% endmacro %}{% call(a, b) m() %}{{ a }}+{{ b }}{% endcall %}",
    "{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(a, b=9) m() %}{{ a }}+{{ b }}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m() %}{% if caller is defined %}c{% else %}n{% endif %}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(caller=1) }}",
    "{% call s.upper %}{% endcall %}", "{% call n %}{% endcall %}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}{% set x = 2 %}{{ m() }}",
    "{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro m() %}{{ n }}{% endmacro %}{% set r = m() %}{{ r|length }}{{ r is string }}",
    "{% macro m(a, b=2) %}{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.catch_varargs }}{{ m.caller }}", "{% macro m(a) %}  {{ a }}  {% endmacro %}[{{ m(1)|trim }}]",
    "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]", "{%- macro m() -%}\n  x\n{%- endmacro -%}\n[{{ m() }}]", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro %}{% endmacro %}",
    "{% macro m() %}x{% endmacro m %}", "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}{{ inner is defined }}",
    "{% filter upper %}a{{ s }}{% endfilter %}", "{% filter upper|replace('A', 'b') %}a{% endfilter %}", "{% filter replace('a', n) %}banana{% endfilter %}",
    "{% filter trim %}\n  x {% set q = 1 %}\n{% endfilter %}[{{ q is defined }}]", "{% filter nofilter %}{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}", "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}", "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with a, b = [1, 2] %}{{ a }}{% endwith %}", "{% with (a, b) = [1, 2] %}{{ a }}{% endwith %}", "{% generation %}a{{ n }}{% endgeneration %}b", "{% generation %}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g is defined }}",
    "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}", "{% for x in l %}{% generation %}{% break %}{% endgeneration %}{% endfor %}",
    "  {% generation %}\n  x\n  {% endgeneration %}\n", "{% generation %}x", "{% do l.append(1) %}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}",
    "{% print n %}", "{% print(n ~ 'x') %}", "{% for x in tree recursive %}{{ x.v }}{% if x.c %}({{ loop(x.c) }}){% endif %}{% endfor %}",
    "{% for x in tree recursive %}{{ loop.depth }}{{ loop.depth0 }}:{{ x.v }} {{ loop(x.c) }}{% endfor %}", "{% for x in l %}{{ loop([]) }}{% endfor %}",
    "{% for x in tree recursive %}{{ loop(x.c) }}{% else %}e{% endfor %}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
    "{% set j = joiner(', ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set m = messages[1:] %}{{ m|length }}{{ m[0].role }}", "{% set messages = messages[1:] %}{% for m in messages %}{{ m.role }};{% endfor %}",
    "{% for m in messages %}{% if m.content %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}", "{%- for m in messages %}\n    {%- if loop.first and m.role != 'system' %}\n        {{- 'x' }}\n    {%- endif %}\n    {{- '<' + m.role + '>' + m.content + '\\n' }}\n{%- endfor %}\n",
    "{%- for m in messages[::-1] %}{%- set i = (messages|length - 1) - loop.index0 %}{{ i }}{{ m.role }} {% endfor %}", "{% set g = l|select('odd') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% endfor %}|{{ g|list }}",
    "{% set g = l|map('string') %}{{ g|first }}{{ g|list }}", "{% set x = 5 %}{% if x is defined and x is number and x > 3 %}ok{% endif %}", "{% set t = 'a' if n > 5 else 'b' %}{{ t }}", "{{ raise_exception('stop: ' ~ s) }}",
    "{% if messages[0].role == 'assistant' %}{{ raise_exception('x') }}{% else %}fine{% endif %}", "before{{ raise_exception('boom') }}after", "{% set x = raise_exception('boom') %}", "{{ n }}{# trailing #}\n\n",
    "{% set text = '' %}{% for x in range(20) %}{% set text = text ~ x %}{% endfor %}[{{ text }}]", "{% set ns = namespace(t='') %}{% for x in range(30) %}{% set ns.t = ns.t + 'ab' %}{% endfor %}{{ ns.t }}",
    "{% set ns = namespace(t='x' * 70) %}{% set a = ns.t + 'a' %}{% set b = a + 'b' %}{% set c = a + 'c' %}{{ b }}|{{ c }}|{{ a }}", "{% set a = 'x' * 70 + 'y' %}{% set b = a ~ a %}{{ b|length }}{{ b[-2:] }}",
    "{% for a in [1, 2] %}{% for b in [3, 4] %}{% if b == 4 %}{% continue %}{% endif %}{{ a }}{{ b }} {% endfor %}{% endfor %}", "{{ n }}\n\n  {%- if n %} x{% endif %}\n", "a\n  {{ n }}\n  {% set q = 1 %}\nb", "  {% set q = 1 %}  \nx", "{% set q = 1 -%}\n  x",
    "{%- set q = 1 -%}\n\n  x", "\n\n{%- set q = 1 %}\nx", "\n  \n  {% set q = 1 %}\n\nx", "{{ '\n' }}\n", "{{ 'a\r\nb' }}", "{{\n  n\n  ~ 'x'\n}}", "{%\n if n\n%}\ny{%\nendif\n%}", "{% for x in l %}{{ x }}\n{% endfor %}\n\n", "line1\n\n\nline2 {% if n %}\n\n  in\n\n{% endif %}\n\n\nend",
    "{{ '<think>' in think and '</think>' in think }}", "{% set content = think %}{% if '</think>' in content %}{% set r = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ r }}|{{ content }}",
    "{%- macro render_extra_keys(json_dict, handled_keys) -%}{%- if json_dict is mapping -%}{%- for k in json_dict if k not in handled_keys -%}{{ '<' ~ k ~ '>' ~ (json_dict[k] | string) ~ ';' }}{%- endfor -%}{%- endif -%}{%- endmacro -%}{{ render_extra_keys(d, ['a', 'list']) }}",
    "{% set x = namespace(i=0) %}{% for m in messages %}{% if (m.role == 'user') != (x.i % 2 == 0) %}{{ m.role }}{% endif %}{% set x.i = x.i + 1 %}{% endfor %}", "{{ messages | selectattr('role', 'equalto', 'tool') | map(attribute='content') | join(';') }}",
    "{% for t in messages[2].tool_calls %}{% set t = t.function %}{{ t.name }}{{ t.arguments | tojson }}{% endfor %}", "{% for k, v in messages[2].tool_calls[0].function.arguments|items %}<{{ k }}>{{ v|tojson if v is mapping or v is sequence and v is not string else v|string }}{% endfor %}",
    "{{ [1,2,3]|sum / 2 }}{{ 'x' if loop is defined else 'y' }}", "{% set a = {'x': 1} %}{% set b = dict(a, y=2) %}{{ b }}{{ a }}", "{% set a = [1] %}{% set a = a + [2] %}{{ a }}", "{{ {'a': 1}.items()|list }}{{ {'a': 1}|list }}",
    "{% for a in [[1,2],[3]] %}{% set outer = loop %}{% for b in a %}{{ outer.index }}.{{ loop.index }} {% endfor %}{% endfor %}", "{% for x in 'ab' %}{% for y in 'cd' %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}",
]

# Lists and dictionaries that change, and JSON text.
CHANGES = [
    "{% set x = [1] %}{% set _ = x.append(2) %}{% set _ = x.append([3]) %}{{ x }}{{ x.append(4) }}{{ x|length }}",
    "{% set x = [1,2,3] %}{{ x.pop() }}{{ x.pop(0) }}{{ x }}{% set _ = x.append(9) %}{{ x }}{{ x.pop(-1) }}{{ x.pop() }}{{ x }}",
    "{% set x = [1,2,3,4] %}{{ x.pop(1) }}{{ x }}{{ x.pop(-2) }}{{ x }}", "{{ [].pop() }}", "{{ [1].pop(1) }}", "{{ [1].pop(-2) }}", "{{ [1].pop('a') }}",
    "{% set x = [1,2] %}{% set _ = x.insert(0, 'a') %}{% set _ = x.insert(99, 'z') %}{% set _ = x.insert(-1, 'y') %}{% set _ = x.insert(-99, 'b') %}{{ x }}",
    "{% set x = [1] %}{% set _ = x.extend([2, 3]) %}{% set _ = x.extend('ab') %}{% set _ = x.extend(x) %}{{ x }}", "{% set x = [1] %}{{ x.extend(5) }}",
    "{% set x = [1,2,1] %}{% set _ = x.remove(1) %}{{ x }}", "{% set x = [1] %}{% set _ = x.remove(7) %}", "{% set x = [1,2,3] %}{% set _ = x.reverse() %}{{ x }}{% set _ = x.clear() %}{{ x }}{% set _ = x.append(1) %}{{ x }}",
    "{% set x = [1,2,3] %}{% set y = x[:] %}{% set z = x[1:] %}{% set _ = x.pop() %}{% set _ = x.append(9) %}{% set _ = y.append(4) %}{% set _ = z.insert(0, 0) %}{{ x }}{{ y }}{{ z }}",
    "{% set x = [1,2,3] %}{% set y = x %}{% set _ = y.append(4) %}{{ x }}{% set c = x.copy() %}{% set _ = c.pop() %}{{ x }}{{ c }}",
    "{% set x = [1,2,3] %}{% set y = x|list %}{% set z = x + [] %}{% set _ = x.clear() %}{{ x }}{{ y }}{{ z }}",
    "{% set ns = namespace(q=[]) %}{% for i in range(5) %}{% set _ = ns.q.append(i) %}{% endfor %}{% for i in range(3) %}{{ ns.q.pop(0) }}{% endfor %}{{ ns.q }}",
    "{% set _ = l.append('own') %}{{ l }}{% set _ = messages.append({'role': 'x'}) %}{{ messages|length }}{{ messages[-1].role }}",
    "{% set _ = messages[0].update({'role': 'changed'}) %}{{ messages[0].role }}", "{{ (1, 2).append(3) }}", "{{ 'ab'.append('c') }}",
    "{% set x = {'a': 1} %}{% set _ = x.update({'b': 2}, c=3) %}{% set _ = x.update([('a', 9)]) %}{{ x }}{{ x.update() }}",
    "{% set x = {'a': 1, 'b': 2, 'c': 3} %}{{ x.pop('b') }}{{ x }}{{ x.pop('zz', 'none') }}{% set _ = x.update(b=5) %}{{ x }}", "{{ {'a': 1}.pop('zz') }}", "{{ {}.pop([1]) }}",
    "{% set x = {'a': 1} %}{{ x.setdefault('a', 5) }}{{ x.setdefault('n', 6) }}{{ x.setdefault('m') }}{{ x }}{% set y = x.copy() %}{% set _ = y.clear() %}{{ x }}{{ y }}",
    "{% set x = {} %}{% for i in range(40) %}{% set _ = x.update({i: i}) %}{% endfor %}{% for i in range(0, 40, 3) %}{% set _ = x.pop(i) %}{% endfor %}{{ x }}{{ x[4] }}{{ x[3] is defined }}",
    "{{ l.append is callable }}{{ d.update is callable }}{{ l.nosuch is defined }}",
    "{{ '{\"a\": [1, 2.5, true, false, null, \"x\"], \"b\": {\"c\": {}}}'|from_json }}", "{{ ('[1, 2]'|from_json)[1] + 1 }}", r"""{{ '"a\\u00e9\\n\\ud83c\\udf89\\/"'|from_json }}""",
    "{{ ' {\"k\" : \"v\"} \\n'|from_json|tojson }}", "{{ '{\"a\":1,\"a\":2}'|from_json }}", "{{ '-12'|from_json }}{{ '0'|from_json }}",
    "{{ '123456789012345678901234567890'|from_json|tojson }}", "{{ '{'|from_json }}", "{{ '[1,]'|from_json }}", "{{ '01'|from_json }}", "{{ ''|from_json }}", "{{ '{\"a\" 1}'|from_json }}",
    r"""{{ '"\\x"'|from_json }}""", "{{ '1 2'|from_json }}", "{{ 'tru'|from_json }}", "{{ '\"a'|from_json }}", "{{ 5|from_json }}", "{{ nothing|from_json }}", "{{ '[[[[1]]]]'|from_json }}",
    "{{ ('{\"s\": \"' ~ s ~ '\"}')|from_json }}", "{% for k, v in ('{\"x\": 1, \"y\": \"z\"}'|from_json).items() %}{{ k }}={{ v }};{% endfor %}",
]

SOURCES = ["{{ " + line + " }}" for line in (EXPRESSIONS.split("\n"))] + STATEMENTS + CHANGES


def store_name(path):
    """The model's file name in the store, for the short names that files have elsewhere."""
    name = str(path).rsplit("/", 1)[-1]
    known = {"qwen05.gguf": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
             "smollm2.gguf": "SmolLM2-135M-Instruct.Q4_1.gguf"}
    return known.get(name, name)


TOOLS = [
    {"type": "function", "function": {
        "name": "get_weather", "description": "The weather of a place.\nIn one line: \"sun\" & <rain>",
        "parameters": {"type": "object", "properties": {
            "city": {"type": "string", "description": "Name, e.g. Zürich or 東京"},
            "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
            "days": {"type": "integer", "minimum": 1, "maximum": 14},
            "where": {"type": "object", "properties": {"lat": {"type": "number"}, "lon": {"type": "number"}},
                      "required": ["lat"]},
            "tags": {"type": "array", "items": {"type": "string"}, "description": "any"},
            "either": {"type": ["string", "null"]}}, "required": ["city"]}}},
    {"type": "function", "function": {
        "name": "Bash", "description": "Runs a command.", "parameters": {
            "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"],
            "additionalProperties": False}}},
    {"type": "function", "function": {
        "name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]


def call(name, arguments, id_="call_00001"):
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


CHATS = {
    "user": [{"role": "user", "content": "Hello!"}],
    "system": [{"role": "system", "content": "You are a pirate.\n"}, {"role": "user", "content": "Hi"}],
    "turns": [
        {"role": "system", "content": "Short answers."}, {"role": "user", "content": "  1+1?  "},
        {"role": "assistant", "content": "2\n"}, {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4"}, {"role": "user", "content": "thanks <|im_end|> 'quoted' \"too\""}],
    "unicode": [{"role": "user", "content": "Grüße 世界 🎉 \u200b\u00a0é\r\n\ttab \\n not a newline"}],
    "empty content": [{"role": "system", "content": ""}, {"role": "user", "content": ""},
                      {"role": "assistant", "content": ""}, {"role": "user", "content": "x"}],
    "tool call": [
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": "", "tool_calls": [
            call("get_weather", {"city": "Zürich", "days": 2, "where": {"lat": 47.37, "lon": 8.0}})]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call_00001", "content": "{\"sun\": true}"},
        {"role": "assistant", "content": "Sunny."}, {"role": "user", "content": "And now?"}],
    "two tool calls": [
        {"role": "system", "content": "Use tools."}, {"role": "user", "content": "Compare."},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [
            call("get_weather", {"city": "東京", "tags": ["a", "b"], "either": None}, "call_00001"),
            call("Bash", {"command": "printf '%s\\n' \"$HOME\" && exit 1"}, "call_00002")]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "call_00001", "content": "rain"},
        {"role": "tool", "name": "Bash", "tool_call_id": "call_00002", "content": "/root\n"}],
    "no arguments": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "content": None, "tool_calls": [call("now", {})]},
        {"role": "tool", "name": "now", "tool_call_id": "call_00001", "content": "12:00"}],
    "arguments as text": [
        {"role": "user", "content": "Time?"},
        {"role": "assistant", "tool_calls": [call("Bash", "{\"command\": \"date\"}")]},
        {"role": "tool", "name": "Bash", "tool_call_id": "call_00001", "content": "noon"}],
    "thinking": [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nBecause."},
        {"role": "user", "content": "Really?"},
        {"role": "assistant", "content": "Yes.", "reasoning_content": "sure", "thinking": "sure"},
        {"role": "user", "content": "Sure?"}],
    "thoughts and a call": [
        {"role": "system", "content": "Think."}, {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "reasoning_content": "a look, then", "tool_calls": [
            call("Bash", {"command": "date"})]},
        {"role": "tool", "name": "Bash", "tool_call_id": "call_00001", "content": "Error: no such command"},
        {"role": "assistant", "content": "It broke.", "reasoning_content": "hm"},
        {"role": "user", "content": "Again"}],
    "thoughts in another field": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "thinking": "a look", "tool_calls": [call("now", {})]},
        {"role": "tool", "name": "now", "tool_call_id": "call_00001", "content": "12:00"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "so"}, {"type": "text", "text": "Noon."}]},
        {"role": "user", "content": "Thanks"}],
    "thoughts, text and calls": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "Let me look.", "thinking": "hm", "reasoning_content": "hm", "tool_calls": [
            call("Bash", {"command": "a"}, "call00001"), call("now", {}, "call00002")]},
        {"role": "tool", "name": "Bash", "tool_call_id": "call00001", "content": ""},
        {"role": "tool", "name": "now", "tool_call_id": "call00002", "content": "[1, 2]"}],
    "nine letters": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call("Bash", {"command": "a", "n": 1}, "call00001")]},
        {"role": "tool", "name": "Bash", "tool_call_id": "call00001", "content": "b"},
        {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Again"}],
    "system in the middle": [
        {"role": "system", "content": "One."}, {"role": "user", "content": "a"}, {"role": "system", "content": "Two."},
        {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "First part."}, {"type": "text", "text": "Second."}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Answer."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
    "developer": [{"role": "developer", "content": "Obey."}, {"role": "user", "content": "x"}],
    "assistant last": [{"role": "user", "content": "Say A"}, {"role": "assistant", "content": "A"}],
    "user twice": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
    "assistant first": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}],
    "unknown role": [{"role": "ghost", "content": "boo"}],
    "nobody": [],
    "long": [m for i in range(12) for m in (
        {"role": "user", "content": f"Question {i}: " + "word " * (i * 3)},
        {"role": "assistant", "content": f"Answer {i}.\n\n```c\nint x = {i};\n```"})],
}


def conversations():
    """(name, context) of every chat with and without tools, with and without a generation prompt."""
    for (name, messages), tools, prompt in itertools.product(CHATS.items(), (None, TOOLS), (True, False)):
        context = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt}
        yield f"{name}{', tools' if tools else ''}{', prompt' if prompt else ''}", context


PLAIN_TOOLS = [{"type": "function", "function": {
    "name": "look_up", "description": "Looks a word up.", "parameters": {
        "type": "object", "properties": {"word": {"type": "string", "description": "The word."},
                                         "n": {"type": "integer", "description": "How many."},
                                         "in": {"type": "array", "items": {"type": "string"}, "description": "Where."}},
        "required": ["word"]}}}]

# What model-specific templates ask for besides; this wins over the conversation's own.
EXTRAS = [{"enable_thinking": False}, {"enable_thinking": True, "preserve_thinking": True}, {"reasoning_effort": "high"},
          {"reasoning_effort": "low", "thinking_effort": "low", "reasoning_strength": "low"},
          {"thinking": True, "drop_thinking": False, "clear_thinking": False, "truncate_history_thinking": False},
          {"thinking": False, "thinking_mode": "disabled", "thinking_budget": 0, "thinking_option": "off"},
          {"keep_past_thinking": True, "custom_system_prompt": "x", "date_string": "1 Jan 2026", "model_identity": "I."},
          {"preserved_thinking": True, "builtin_tools": ["browser", "python"], "thinking_mode": "adaptive"},
          {"tools": PLAIN_TOOLS, "functions": "[]", "datetime": "noon", "think_render_option": "all"}]
WITH_EXTRAS = ["system", "turns", "two tool calls", "thinking", "thoughts and a call", "thoughts in another field"]


def contexts():
    """Every conversation, and some of them with each of the extras."""
    yield from conversations()
    for name, context in conversations():
        if name.split(",")[0] in WITH_EXTRAS:
            for extra in EXTRAS:
                yield f"{name} {sorted(extra)[0]}…", {**context, **extra}


# ---- what clients send: bodies of the Messages API ----

def said(text):
    return {"type": "text", "text": text}


def used(id_, **arguments):
    return {"type": "tool_use", "id": id_, "name": "Bash", "input": arguments}


def gave(id_, text, **more):
    return {"type": "tool_result", "tool_use_id": id_, "content": text, **more}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def model(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def system(text):
    return {"role": "system", "content": text}


THOUGHT = {"type": "thinking", "thinking": "w0thought", "signature": ""}
API_TOOLS = [{"name": "Bash", "description": "Runs.", "input_schema": {
    "type": "object", "properties": {"command": {"type": "string"}}, "required": ["command"]}}]
ODD_TOOLS = [
    {"name": "Bash", "input_schema": {"type": "object"}},
    {"name": "odd", "description": "", "input_schema": {"$schema": "x", "type": "object", "properties": {
        "any": {}, "of": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "both": {"type": ["string", "number"]},
        "deep": {"type": "object", "properties": {"a": {"type": "array", "items": {"$ref": "#/x"}}}},
        "list": {"type": "array"}, "const": {"const": 1}, "enum": {"enum": [1, "a", None]}},
        "additionalProperties": False}}]

CALLED = [user(said("w1")), model(THOUGHT, said("w2"), used("toolu_1", command="w3")), user(gave("toolu_1", "w4"))]

# Each grows: every beginning that ends with a user's turn is asked, too.
BODIES = {
    "turns": [user(said("w1")), model(said("w2")), user(said("w3")), model(THOUGHT, said("w4")), user(said("w5"))],
    "a call": [*CALLED, model(THOUGHT, said("w5")), user(said("w6"))],
    "calls one after another": [*CALLED, model(THOUGHT, used("toolu_2", command="w5")),
                                user(gave("toolu_2", "w6", is_error=True)), model(said("w7")), user(said("w8"))],
    "parallel calls": [user(said("w1")), model(used("toolu_1", command="w2"), used("toolu_2", command="w3")),
                       user(gave("toolu_2", "w4"), gave("toolu_1", "w5"), said("w6")), model(said("w7")),
                       user(said("w8"))],
    "text behind a result": [*CALLED[:2], user(gave("toolu_1", "w4"), said("w5")), model(said("w6")), user(said("w7"))],
    "text before a result": [*CALLED[:2], user(said("w4"), gave("toolu_1", "w5")), model(said("w6")), user(said("w7"))],
    "a call without a result": [*CALLED[:2], user(said("w4")), model(said("w5")), user(said("w6"))],
    "one of two results": [user(said("w1")), model(used("toolu_1", command="w2"), used("toolu_2", command="w3")),
                           user(gave("toolu_2", "w4")), model(said("w5")), user(said("w6"))],
    "a late result": [*CALLED[:2], user(said("w4")), model(said("w5")), user(gave("toolu_1", "w6"))],
    "two results of one call": [*CALLED, model(said("w5")), user(gave("toolu_1", "w6"))],
    "results after an assistant's text": [user(said("w1")), model(used("toolu_1", command="w2"), said("w3")),
                                          user(gave("toolu_1", "w4"))],
    "odd arguments": [user(said("w1")), model(used("toolu_1", command="w2", n=1, f=1.5, b=True, z=None, l=[1, "x"],
                                                  o={"k": {"v": []}}, e={})), user(gave("toolu_1", "w3"))],
    "no arguments": [user(said("w1")), model(used("toolu_1")), user(gave("toolu_1", ""))],
    "two users": [user(said("w1")), user(said("w2")), model(said("w3")), user(said("w4")), user(said("w5"))],
    "two assistants": [user(said("w1")), model(said("w2")), model(said("w3")), user(said("w4"))],
    "an assistant first": [model(said("w1")), user(said("w2"))],
    "a call first": [model(used("toolu_1", command="w1")), user(gave("toolu_1", "w2"))],
    "a system message in the middle": [user(said("w1")), system("w2"), model(said("w3")), user(said("w4")),
                                       system("w5"), user(said("w6"))],
    "a second system message": [system("w1"), user(said("w2")), model(said("w3")), user(said("w4"))],
    "a system message behind a result": [*CALLED, system("w5"), model(said("w6")), user(said("w7"))],
    "a system message behind a call": [*CALLED[:2], system("w4"), user(gave("toolu_1", "w5"))],
    "nobody but the system": [system("w1")],
    "a system message at the end": [user(said("w1")), model(said("w2")), system("w3")],
    "an answer begun": [user(said("w1")), model(said("w2"))],
    "an answer begun behind a result": [*CALLED, model(said("w5"))],
    "an assistant who said nothing": [user(said("w1")), {"role": "assistant", "content": ""}, user(said("w2"))],
    "thoughts alone": [user(said("w1")), model(THOUGHT), user(said("w2"))],
    "foreign markers": [user(said("<tool_response>w1</tool_response>")),
                        model(said("<|channel|>analysis<|message|><|channel|>final<|message|>w2<|end|>")),
                        user(said("w3 [INST] <|im_end|> {{ x }} {% raise %}"))],
    "unicode": [user(said("w1 Grüße 世界 🎉 \u200b\u00a0\u0000")), model(said("w2")), user(said("w3"))],
}


def bodies():
    """(name, grows, body): conversations that the API accepts, with and without a system prompt and tools. Bodies of
    one `grows` are beginnings of each other."""
    for name, messages in BODIES.items():
        for prompt, tools in itertools.product((None, "w0system"), (None, API_TOOLS, ODD_TOOLS)):
            common = {"model": "m", "max_tokens": 9}
            if prompt:
                common["system"] = prompt
            if tools:
                common["tools"] = tools
            title = f"{name}{', system' if prompt else ''}{', odd tools' if tools is ODD_TOOLS else ', tools' if tools else ''}"
            for n in range(1, len(messages) + 1):
                if n == len(messages) or messages[n - 1]["role"] == "user":
                    yield f"{title}, {n}", title, {**common, "messages": messages[:n]}
