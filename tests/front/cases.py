"""The cases of the corpus, by kind. Plain data: see corpus.py for the escapes and for what is made of it."""

E = r"\r\n"
H = r"Host: localhost\r\n"
K = r"\{KEY}"
UP = "GET /healthz HTTP/1.1"  # open to all: 200
INVOKE = "POST /v1/workflow/invoke HTTP/1.1"
NOWHERE = '{"deployment":"no"}'  # 19 bytes; understood, and not found: 404, so that a lost byte shows as 400
NEXT = r"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"

CASES = []
_group = [""]


def section(title):
    _group[0] = title


def case(name, send, gets, why):
    CASES.append({"group": _group[0], "name": name, "send": send, "gets": gets, "why": why})


def head(name, headers, gets, why, line=UP, host=H):
    case(name, line + E + host + headers + E, gets, why)


def body(name, headers, content, gets, why, line=INVOKE):
    case(name, line + E + H + K + headers + E + content, gets, why)


def chunked(name, content, gets, why):
    body(name, r"Transfer-Encoding: chunked\r\n", content, gets, why)


# ------------------------------------------------------------------------------------------------------------------
section("the method")

for method, gets in [
    ("GET", "200 open"), ("HEAD", "h200 open"), ("POST", "405 open"), ("PUT", "405 open"), ("DELETE", "405 open"),
    ("PATCH", "405 open"), ("OPTIONS", "405 open"), ("TRACE", "405 open"), ("PROPFIND", "405 open"),
    ("M-SEARCH", "405 open"), ("QUERY", "405 open"), ("get", "405 open"), ("Get", "405 open"), ("X", "405 open"),
    ("A!#$%&'*+-.^_`|~9", "405 open"),
]:
    head(f"method {method}", "", gets,
         "RFC 9110 9.1: a method is a token, case-sensitive; known path, other method: contract 3, 405",
         line=f"{method} /healthz HTTP/1.1")
head("method CONNECT, a path", "", "400 close", "RFC 9110 9.3.6: CONNECT takes an authority; this is no proxy",
     line="CONNECT /healthz HTTP/1.1")
head("method CONNECT, an authority", "", "400 close", "RFC 9110 9.3.6: this is no proxy",
     line="CONNECT localhost:80 HTTP/1.1")
head("method CONNECT, then bytes", r"\r\nGET /readyz HTTP/1.1\r\n" + H, "400 close",
     "RFC 9110 9.3.6: what follows a CONNECT is no request", line="CONNECT localhost:80 HTTP/1.1")
head("method of 200 letters", "", "405 open", "RFC 9110 9.1: a token of any length", line=r"\{A*200} /healthz HTTP/1.1")
head("method of 20000 letters", "", "431 close", "RFC 6585 5: the head is over 16 KiB",
     line=r"\{A*20000} /healthz HTTP/1.1")
for name, method in [
    ("with a bracket", "GE(T"), ("with a comma", "GE,T"), ("with a quote", 'GE"T'), ("with a slash", "GE/T"),
    ("with a colon", "GET:"), ("with an at", "G@T"), ("with a brace", "G{T"), ("with NUL", r"GE\x00T"),
    ("with DEL", r"GE\x7fT"), ("with a tab", r"GE\tT"), ("with a high byte", r"G\xc9T"), ("with ESC", r"G\x1bT"),
    ("with an equals", "G=T"), ("with a backslash", r"G\\T"),
]:
    head(f"method {name}", "", "400 close", "RFC 9110 5.6.2: not a token character", line=f"{method} /healthz HTTP/1.1")
head("method missing", "", "400 close", "RFC 9112 3: a request line begins with a method", line=" /healthz HTTP/1.1")
head("method alone", "", "400 close", "RFC 9112 3: method SP target SP version", line="GET")
head("method and blank", "", "400 close", "RFC 9112 3: method SP target SP version", line="GET ")

# ------------------------------------------------------------------------------------------------------------------
section("the request line")

for name, line, gets, why in [
    ("two blanks before the target", "GET  /healthz HTTP/1.1", "400 close", "RFC 9112 3: a single SP"),
    ("two blanks before the version", "GET /healthz  HTTP/1.1", "400 close", "RFC 9112 3: a single SP"),
    ("a tab before the target", r"GET\t/healthz HTTP/1.1", "400 close", "RFC 9112 3: SP, not HTAB"),
    ("a tab before the version", r"GET /healthz\tHTTP/1.1", "400 close", "RFC 9112 3: SP, not HTAB"),
    ("a blank after the version", "GET /healthz HTTP/1.1 ", "400 close", "RFC 9112 3: nothing follows the version"),
    ("a tab after the version", r"GET /healthz HTTP/1.1\t", "400 close", "RFC 9112 3: nothing follows the version"),
    ("a blank before the method", " GET /healthz HTTP/1.1", "400 close", "RFC 9112 3: the method comes first"),
    ("four parts", "GET /healthz x HTTP/1.1", "400 close", "RFC 9112 3.2: no blank in a target"),
    ("no version", "GET /healthz", "400 close", "RFC 9112 3: HTTP/0.9 is not spoken"),
    ("no version, a blank", "GET /healthz ", "400 close", "RFC 9112 3: a version is due"),
    ("version first", "HTTP/1.1 GET /healthz", "400 close", "RFC 9112 3: `/` is no token character"),
    ("a status line", "HTTP/1.1 200 OK", "400 close", "RFC 9112 4: an answer is no request"),
    ("version 1.2", "GET /healthz HTTP/1.2", "400 close", "RFC 9112 2.3: 1.0 and 1.1 are spoken"),
    ("version 1.9", "GET /healthz HTTP/1.9", "400 close", "RFC 9112 2.3: 1.0 and 1.1 are spoken"),
    ("version 2.0", "GET /healthz HTTP/2.0", "400 close", "RFC 9110 15.6.6: not spoken here"),
    ("version 3", "GET /healthz HTTP/3", "400 close", "RFC 9112 2.3: DIGIT . DIGIT"),
    ("version 0.9", "GET /healthz HTTP/0.9", "400 close", "RFC 9112 2.3: not spoken"),
    ("version 1", "GET /healthz HTTP/1", "400 close", "RFC 9112 2.3: DIGIT . DIGIT"),
    ("version 1.", "GET /healthz HTTP/1.", "400 close", "RFC 9112 2.3: DIGIT . DIGIT"),
    ("version 1.10", "GET /healthz HTTP/1.10", "400 close", "RFC 9112 2.3: one digit"),
    ("version 01.1", "GET /healthz HTTP/01.1", "400 close", "RFC 9112 2.3: one digit"),
    ("version 1,1", "GET /healthz HTTP/1,1", "400 close", "RFC 9112 2.3: a point"),
    ("version in small letters", "GET /healthz http/1.1", "400 close", "RFC 9112 2.3: case-sensitive"),
    ("version HTPP", "GET /healthz HTPP/1.1", "400 close", "RFC 9112 2.3: HTTP-name"),
    ("version HTTPS", "GET /healthz HTTPS/1.1", "400 close", "RFC 9112 2.3: HTTP-name"),
    ("version ICY", "GET /healthz ICY/1.0", "400 close", "RFC 9112 2.3: HTTP-name"),
    ("version with a sign", "GET /healthz HTTP/+1.1", "400 close", "RFC 9112 2.3: DIGIT"),
    ("version with a letter", "GET /healthz HTTP/1.x", "400 close", "RFC 9112 2.3: DIGIT"),
    ("version with a full-width digit", r"GET /healthz HTTP/1.\xef\xbc\x91", "400 close", "RFC 9112 2.3: DIGIT"),
    ("version with blanks inside", "GET /healthz HTTP / 1.1", "400 close", "RFC 9112 3: no blank"),
    ("version with NUL", r"GET /healthz HTTP/1.1\x00", "400 close", "RFC 9112 3: nothing follows the version"),
]:
    head(f"line: {name}", "", gets, why, line=line)
case("line: TLS hello", r"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 close", "not HTTP")
case("line: SSH banner", r"SSH-2.0-OpenSSH_9.2\r\n\r\n", "400 close", "not HTTP")
case("line: RTSP", r"OPTIONS / RTSP/1.0\r\n\r\n", "400 close", "RFC 9112 2.3: HTTP-name")
case("line: SMTP", r"EHLO localhost\r\nMAIL FROM:<a@b>\r\n\r\n", "400 close", "not HTTP: no mail leaves by this door")
case("line: JSON alone", r'{"a":1}\r\n\r\n', "400 close", "not HTTP")
case("line: only blanks", r"   \r\n\r\n", "400 close", "RFC 9112 3: no request line")
case("line: NULs", r"\{\x00*64}\r\n\r\n", "400 close", "not HTTP")
case("line: HTTP/2 preface", r"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "close",
     "RFC 9113 3.4: no HTTP/1 answer would be understood; closed")
case("line: HTTP/2 preface, its beginning", r"PRI * HTTP/2.0\r\n\r\n", "400 close", "RFC 9112 2.3: 1.0 and 1.1 are spoken")
case("line: PROXY protocol 1", r"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + NEXT, "400 close", "not HTTP; not asked for")
case("line: PROXY protocol 2", r"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x00\x02" + NEXT,
     "400 close", "not HTTP; not asked for")
case("line: one empty line before", r"\r\n" + UP + E + H + E, "200 open", "RFC 9112 2.2: at least one is ignored")
case("line: three empty lines before", r"\r\n\r\n\r\n" + UP + E + H + E, "200 open", "RFC 9112 2.2: empty lines are ignored")
case("line: bare LF before", r"\n" + UP + E + H + E, "200 open", "RFC 9112 2.2: an empty line, ended by LF")
case("line: bare CR before", r"\r" + UP + E + H + E, "400 close", "RFC 9112 2.2: a bare CR is no line end")
case("line: ended by LF", UP + r"\n" + H + E, "200 open", "RFC 9112 2.2: LF may be taken as a line end")
case("line: ended by CR", UP + r"\r" + H + E, "400 close", "RFC 9112 2.2: a bare CR is no line end")
case("line: ended by CR CR LF", UP + r"\r\r\n" + H + E, "400 close", "RFC 9112 2.2: a bare CR is no line end")
case("line: nothing, then the end", r"\z", "close", "nothing was asked")
case("line: an empty line, then the end", r"\r\n\z", "close", "nothing was asked")
case("line: half a line, then the end", r"GET /heal\z", "close", "RFC 9112 8: incomplete; nobody listens")
case("line: a line, then the end", UP + r"\r\n\z", "close", "RFC 9112 8: incomplete")
case("line: no empty line, then the end", UP + E + H + r"\z", "close", "RFC 9112 8: incomplete")
case("line: a whole request, then the end", UP + E + H + E + r"\z", "close or 200 close",
     "who ends his side is taken to have left, as most who do so have: he may get no answer")
case("line: byte by byte", r"G\.E\.T\. /hea\.lthz HT\.TP/1.1\r\.\nHost: loc\.alhost\r\n\r\.\n", "200 open",
     "RFC 9112 2.2: packets are no borders")

# ------------------------------------------------------------------------------------------------------------------
section("the target")

for name, target, gets, why in [
    ("a query", "/healthz?a=b", "200 open", "RFC 3986 3.4"),
    ("an empty query", "/healthz?", "200 open", "RFC 3986 3.4"),
    ("two question marks", "/healthz?a?b", "200 open", "RFC 3986 3.4: `?` may stand in a query"),
    ("a query with brackets", "/healthz?a[b]=c", "200 open", "not in RFC 3986's query, but what the list filters use"),
    ("a query with odd escapes", "/healthz?a=%zz&b=%", "200 open", "nobody reads this query"),
    ("a query with a quote", '/healthz?a="b"', "400 close", "RFC 3986 2: not in a target"),
    ("a query with a pipe", "/healthz?a=b|c", "200 open", "not in RFC 3986's query; common, harmless"),
    ("a query with braces", "/healthz?a={b}", "200 open", "not in RFC 3986's query; common, harmless"),
    ("a query with UTF-8", r"/healthz?a=\xc3\xa9", "200 open", "not in RFC 3986's query; it reaches nobody"),
    ("a path with UTF-8", r"/\xc3\xa9", "404 open", "RFC 3986 2.1 would have it escaped; there is nothing either way"),
    ("a path with a broken byte", r"/\xff", "400 close", "RFC 3986 2.1: neither escaped nor UTF-8"),
    ("a fragment", "/healthz#top", "200 open", "RFC 9110 7.1: no part of a request; taken off"),
    ("an escaped path", "/%68ealthz", "200 open", "RFC 3986 6.2.2.2: the same resource"),
    ("an escaped path, capital hex", "/healthz%2F", "404 open", "RFC 3986 2.2: an escaped slash is data"),
    ("an escaped NUL", "/healthz%00", "404 open", "data, and nothing of that name"),
    ("an escaped line end", "/healthz%0d%0aX:%20y", "404 open", "data, never a header"),
    ("a broken escape", "/healthz%", "404 open", "RFC 3986 2.1: fits no path"),
    ("a broken escape, one digit", "/healthz%4", "404 open", "RFC 3986 2.1: fits no path"),
    ("a broken escape, no digits", "/healthz%zz", "404 open", "RFC 3986 2.1: fits no path"),
    ("an overlong escape", "/healthz%c0%af", "404 open", "RFC 3629 3: not UTF-8, fits no path"),
    ("a double slash", "//healthz", "404 open", "RFC 3986 3.3: an empty segment; another path"),
    ("a trailing slash", "/healthz/", "404 open", "RFC 3986 3.3: an empty segment; another path"),
    ("a dot segment", "/./healthz", "404 open", "a client takes it away (RFC 3986 5.2.4); here it fits nothing"),
    ("two dots", "/v1/../healthz", "404 open", "a client takes it away; here it fits nothing"),
    ("escaped dots", "/v1/%2e%2e/healthz", "404 open", "fits nothing"),
    ("out of the root", "/../../../etc/passwd", "404 open", "no file of the disk is served"),
    ("capital letters", "/HEALTHZ", "404 open", "RFC 3986 6.2.2.1: paths are case-sensitive"),
    ("path parameters", "/healthz;v=1", "404 open", "RFC 3986 3.3: a part of the segment"),
    ("a backslash", r"/healthz\\", "404 open", "not in RFC 3986's path; fits nothing"),
    ("a caret", "/healthz^", "404 open", "not in RFC 3986's path; fits nothing"),
    ("a quote", '/healthz"', "404 open", "not in RFC 3986's path; fits nothing"),
    ("angle brackets", "/<healthz>", "400 close", "RFC 3986 2: not in a target"),
    ("a backtick", "/`id`", "400 close", "RFC 3986 2: not in a target"),
    ("braces", "/{healthz}", "404 open", "not in RFC 3986's path; fits nothing"),
    ("the root", "/", "200 open", "the dashboard"),
    ("of 8000 bytes", r"/\{a*7999}", "404 open", "below the limit of 8 KiB"),
    ("of 8192 bytes", r"/\{a*8191}", "404 open", "at the limit of 8 KiB"),
    ("of 8193 bytes", r"/\{a*8192}", "414 close", "RFC 9110 15.5.15: longer than what is read here"),
    ("a query of 9000 bytes", r"/healthz?\{a*9000}", "414 close", "RFC 9110 15.5.15: longer than what is read here"),
    ("of 20000 bytes", r"/\{a*20000}", "431 close", "RFC 6585 5: the whole head is over 16 KiB; told as such"),
    ("of 100000 bytes", r"/\{a*100000}", "431 close", "RFC 6585 5: the whole head is over 16 KiB"),
    ("with NUL", r"/health\x00z", "400 close", "RFC 3986 2: not in a target"),
    ("with DEL", r"/health\x7fz", "400 close", "RFC 3986 2: not in a target"),
    ("with ESC", r"/health\x1b[z", "400 close", "RFC 3986 2: not in a target"),
    ("with a tab", r"/health\tz", "400 close", "RFC 3986 2: not in a target"),
    ("with a bare CR", r"/health\rz", "400 close", "RFC 9112 2.2: a bare CR is no line end"),
    ("absolute, this host", "http://localhost/healthz", "200 open", "RFC 9112 3.2.2: absolute-form is accepted"),
    ("absolute, port 80", "http://localhost:80/healthz", "200 open", "RFC 9110 4.2.3: 80 is the default"),
    ("absolute, capital letters", "HTTP://LOCALHOST/healthz", "200 open", "RFC 9110 4.2.3: case-insensitive"),
    ("absolute, another host", "http://evil.example/healthz", "400 close", "RFC 9112 3.2.2: not the Host that is named"),
    ("absolute, another port", "http://localhost:81/healthz", "400 close", "RFC 9112 3.2.2: not the Host that is named"),
    ("absolute, userinfo", "http://u:p@localhost/healthz", "400 close", "RFC 9110 4.2.4: an error"),
    ("absolute, https", "https://localhost/healthz", "400 close", "RFC 9110 7.4: only http is spoken on this socket"),
    ("absolute, ftp", "ftp://localhost/healthz", "400 close", "RFC 9110 7.4: only http is spoken on this socket"),
    ("absolute, no path", "http://localhost", "200 open", "RFC 9112 3.2.1: an empty path is `/`"),
    ("absolute, empty host", "http:///healthz", "400 close", "RFC 9110 4.2.1: an empty host is invalid"),
    ("absolute, a query alone", "http://localhost?a=b", "200 open", "RFC 9112 3.2.1: an empty path is `/`"),
    ("no slash", "healthz", "400 close", "RFC 9112 3.2: none of the four forms"),
    ("an authority", "localhost:80", "400 close", "RFC 9112 3.2.3: only with CONNECT"),
    ("a question mark first", "?a=b", "400 close", "RFC 9112 3.2: none of the four forms"),
    ("a fragment alone", "#a", "400 close", "RFC 9112 3.2: none of the four forms"),
    ("an asterisk with GET", "*", "404 open", "RFC 9112 3.2.4: only with OPTIONS; there is nothing"),
    ("two asterisks", "**", "400 close", "RFC 9112 3.2: none of the four forms"),
    ("a scheme alone", "http:", "400 close", "RFC 9110 4.2.1: no authority"),
    ("javascript", "javascript:alert(1)", "400 close", "RFC 9112 3.2: none of the four forms"),
    ("a mail address", "mailto:a@b", "400 close", "RFC 9112 3.2: none of the four forms"),
]:
    head(f"target: {name}", "", gets, why, line=f"GET {target} HTTP/1.1")
head("target: an asterisk with OPTIONS", "", "404 open", "RFC 9110 9.3.7: may be asked; there is nothing to say",
     line="OPTIONS * HTTP/1.1")
head("target: a run that is not there", K, "404 open", "contract 3: named as such",
     line="GET /v1/workflow_runs/nobody HTTP/1.1")
head("target: a traversal in a parameter", K, "404 open", "an escaped slash is data",
     line="GET /v1/workflow_runs/..%2f..%2fetc%2fpasswd HTTP/1.1")
head("target: an empty parameter", K, "404 open", "a parameter is not empty", line="GET /v1/workflow_runs/ HTTP/1.1")
head("target: a parameter of 4000 bytes", K, "404 open", "nothing of that name",
     line=r"GET /v1/workflow_runs/\{a*4000} HTTP/1.1")
head("target: a filter nobody knows", K, "200 open", "contract 7: unknown parameters are ignored",
     line="GET /v1/workflow_runs?nonsense=1 HTTP/1.1")
head("target: a limit that is none", K, "400 open", "contract 7: named", line="GET /v1/workflow_runs?limit=-1 HTTP/1.1")

# ------------------------------------------------------------------------------------------------------------------
section("Host")

WRONG_HOST = "RFC 9110 7.2: not a host and port"
for name, value, gets, why in [
    ("localhost and port", "localhost:8080", "200 open", "RFC 9110 7.2"),
    ("localhost, capital letters", "LOCALHOST", "200 open", "RFC 3986 3.2.2: case-insensitive"),
    ("localhost, a point at the end", "localhost.", "200 open", "RFC 1034 3.1: the same name"),
    ("an IPv4 address", "127.0.0.1", "200 open", "RFC 9110 7.2"),
    ("another IPv4 address", "192.0.2.7:99", "200 open", "an address cannot be rebound to"),
    ("an IPv6 address", "[::1]", "200 open", "RFC 3986 3.2.2"),
    ("an IPv6 address and port", "[::1]:8080", "200 open", "RFC 3986 3.2.2"),
    ("an empty port", "localhost:", "200 open", "RFC 3986 3.2.3: a port may be empty"),
    ("port 0", "localhost:0", "200 open", "RFC 3986 3.2.3: digits"),
    ("port 65535", "localhost:65535", "200 open", "RFC 3986 3.2.3: digits"),
    ("blanks around", r"  localhost \t", "200 open", "RFC 9110 5.5: not part of the value"),
    ("port 65536", "localhost:65536", "400 close", WRONG_HOST),
    ("a port with a sign", "localhost:+80", "400 close", WRONG_HOST),
    ("a port with letters", "localhost:http", "400 close", WRONG_HOST),
    ("two ports", "localhost:80:80", "400 close", WRONG_HOST),
    ("a port alone", ":80", "400 close", WRONG_HOST),
    ("empty", "", "400 close", "RFC 9110 7.2: empty only where the target has no authority; none is served here"),
    ("blanks alone", "   ", "400 close", "RFC 9110 7.2: empty"),
    ("two in one", "localhost, localhost", "400 close", WRONG_HOST),
    ("a blank inside", "local host", "400 close", WRONG_HOST),
    ("userinfo", "user@localhost", "400 close", WRONG_HOST),
    ("a path", "localhost/healthz", "400 close", WRONG_HOST),
    ("a scheme", "http://localhost", "400 close", WRONG_HOST),
    ("a fragment", "localhost#a", "400 close", WRONG_HOST),
    ("a query", "localhost?a", "400 close", WRONG_HOST),
    ("a bracket open", "[::1", "400 close", WRONG_HOST),
    ("brackets empty", "[]", "400 close", WRONG_HOST),
    ("an IPv6 address without brackets", "::1", "400 close", WRONG_HOST),
    ("brackets with a name", "[localhost]", "400 close", WRONG_HOST),
    ("an IPv6 zone", "[fe80::1%25eth0]", "400 close", "RFC 6874: zones are of no use to a server"),
    ("a tab inside", r"local\thost", "400 close", WRONG_HOST),
    ("a high byte", r"localhost\xe9", "400 close", WRONG_HOST),
    ("UTF-8", r"\xc3\xa9.example", "400 close", WRONG_HOST),
    ("NUL", r"localhost\x00", "400 close", "RFC 9110 5.5: NUL is refused"),
    ("another name", "evil.example", "400 close", "listening on loopback: DNS rebinding"),
    ("another name, this one before", "localhost.evil.example", "400 close", "listening on loopback: DNS rebinding"),
    ("another name, an address before", "127.0.0.1.evil.example", "400 close", "listening on loopback: DNS rebinding"),
    ("an address in other clothes", "0x7f.1", "400 close", "not a literal address; a name that could be rebound"),
    ("a number", "2130706433", "400 close", "not a literal address; a name that could be rebound"),
    ("an escaped name", "%6cocalhost", "400 close", "RFC 9110 4.2.3 would make it equal; refused, which is safe"),
    ("a quote", '"localhost"', "400 close", WRONG_HOST),
    ("of 300 letters", r"\{a*300}", "400 close", "listening on loopback: DNS rebinding"),
]:
    head(f"host: {name}", "", gets, why, host=f"Host: {value}\\r\\n")
head("host: none", "", "400 close", "RFC 9112 3.2: required in HTTP/1.1", host="")
head("host: twice the same", H, "400 close", "RFC 9112 3.2: more than one line")
head("host: twice, different", r"Host: evil.example\r\n", "400 close", "RFC 9112 3.2: more than one line")
head("host: twice, one empty", r"Host:\r\n", "400 close", "RFC 9112 3.2: more than one line")
head("host: twice, other case", r"HOST: localhost\r\n", "400 close", "RFC 9110 5.1: names are case-insensitive")
head("host: small letters", "", "200 open", "RFC 9110 5.1: names are case-insensitive", host=r"host: localhost\r\n")
head("host: last", "", "200 open", "RFC 9110 5.3: order does not matter", host=r"A: b\r\n" + H)
head("host: X-Forwarded-Host does not count", r"X-Forwarded-Host: evil.example\r\n", "200 open",
     "RFC 9110 7.2: the Host line alone")
head("host: none, X-Forwarded-Host instead", r"X-Forwarded-Host: localhost\r\n", "400 close",
     "RFC 9112 3.2: required", host="")
head("host: none in 1.0", "", "200 close", "RFC 9112 3.2: HTTP/1.0 may have none; it closes", line="GET /healthz HTTP/1.0", host="")
head("host: one in 1.0", "", "200 close", "RFC 9112 C.2.2", line="GET /healthz HTTP/1.0")
head("host: two in 1.0", H, "400 close", "RFC 9112 3.2: more than one line, whatever the version", line="GET /healthz HTTP/1.0")
head("host: a wrong one in 1.0", "", "400 close", "RFC 9112 3.2: an invalid value, whatever the version",
     line="GET /healthz HTTP/1.0", host=r"Host: a b\r\n")
head("host: another name in 1.0", "", "400 close", "listening on loopback: DNS rebinding",
     line="GET /healthz HTTP/1.0", host=r"Host: evil.example\r\n")
head("host: none, absolute target", "", "400 close", "RFC 9112 3.2: required even then",
     line="GET http://localhost/healthz HTTP/1.1", host="")
head("host: IPv6, absolute target", "", "200 open", "RFC 9112 3.2.2: the same host",
     line="GET http://[::1]:80/healthz HTTP/1.1", host=r"Host: [::1]\r\n")
head("host: before an authority that ends in a point", "", "400 close", "not letter by letter the same: refused, which is safe",
     line="GET http://localhost./healthz HTTP/1.1")

# ------------------------------------------------------------------------------------------------------------------
section("header lines")

for name, line, gets, why in [
    ("an empty value", r"X:\r\n", "200 open", "RFC 9110 5.5: a value may be empty"),
    ("no blank", r"X:y\r\n", "200 open", "RFC 9112 5: OWS"),
    ("a tab", r"X:\ty\r\n", "200 open", "RFC 9112 5: OWS"),
    ("blanks at the end", r"X: y   \t \r\n", "200 open", "RFC 9112 5: OWS"),
    ("blanks alone", r"X:      \r\n", "200 open", "RFC 9112 5: OWS"),
    ("colons in the value", r"X: a:b:c\r\n", "200 open", "RFC 9110 5.5"),
    ("a high byte in the value", r"X: \xe9\r\n", "200 open", "RFC 9110 5.5: obs-text"),
    ("UTF-8 in the value", r"X: \xc3\xa9\r\n", "200 open", "RFC 9110 5.5: obs-text"),
    ("broken UTF-8 in the value", r"X: \xc3\r\n", "200 open", "RFC 9110 5.5: obs-text"),
    ("a quote left open", r'X: "a\r\n', "200 open", "RFC 9110 5.5: nobody reads this one"),
    ("every visible character", r"""X: !"#$%&'()*+,-./:;<=>?@[\\]^_`|~{}\r\n""", "200 open", "RFC 9110 5.5: VCHAR"),
    ("every token character in the name", r"!#$%&'*+-.^_`|~09azAZ: y\r\n", "200 open", "RFC 9110 5.6.2"),
    ("an underscore in the name", r"X_Y: z\r\n", "200 open", "RFC 9110 5.6.2: a token character"),
    ("the same name twice", r"X: a\r\nX: b\r\n", "200 open", "RFC 9110 5.3"),
    ("a digit as the name", r"1: a\r\n", "200 open", "RFC 9110 5.6.2"),
    ("LF as line end", r"X: y\n", "200 open", "RFC 9112 2.2: LF may be taken as a line end"),
    ("CR as line end", r"X: y\rZ: a\r\n", "400 close", "RFC 9112 2.2: a bare CR is invalid"),
    ("CR CR LF", r"X: y\r\r\n", "400 close", "RFC 9112 2.2: a bare CR is invalid"),
    ("LF CR", r"X: y\n\rZ: a\r\n", "400 close", "RFC 9112 2.2: a bare CR is invalid"),
    ("NUL in the value", r"X: a\x00b\r\n", "400 close", "RFC 9110 5.5: NUL is refused"),
    ("BEL in the value", r"X: a\x07b\r\n", "400 close", "RFC 9110 5.5: CTL is refused"),
    ("ESC in the value", r"X: \x1b[31m\r\n", "400 close", "RFC 9110 5.5: CTL is refused"),
    ("DEL in the value", r"X: a\x7fb\r\n", "400 close", "RFC 9110 5.5: CTL is refused"),
    ("VT in the value", r"X: a\x0bb\r\n", "400 close", "RFC 9110 5.5: CTL is refused"),
    ("FF in the value", r"X: a\x0cb\r\n", "400 close", "RFC 9110 5.5: CTL is refused"),
    ("folded with a blank", r"X: a\r\n b\r\n", "400 close", "RFC 9112 5.2: obs-fold is refused"),
    ("folded with a tab", r"X: a\r\n\tb\r\n", "400 close", "RFC 9112 5.2: obs-fold is refused"),
    ("folded onto nothing", r"X:\r\n b\r\n", "400 close", "RFC 9112 5.2: obs-fold is refused"),
    ("a blank line that is not empty", r" \r\n", "400 close", "RFC 9112 2.2: whitespace before a header"),
    ("folded length", r"Content-Length:\r\n 5\r\n", "400 close", "RFC 9112 5.2: obs-fold is refused"),
    ("folded coding", r"Transfer-Encoding:\r\n chunked\r\n", "400 close", "RFC 9112 5.2: obs-fold is refused"),
    ("a blank before the colon", r"X : y\r\n", "400 close", "RFC 9112 5.1: MUST be refused"),
    ("a tab before the colon", r"X\t: y\r\n", "400 close", "RFC 9112 5.1: MUST be refused"),
    ("a blank in the name", r"X Y: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a blank before the name", r" X: y\r\n", "400 close", "RFC 9112 2.2: whitespace before a header"),
    ("a tab before the name", r"\tX: y\r\n", "400 close", "RFC 9112 2.2: whitespace before a header"),
    ("an empty name", r": y\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a colon alone", r":\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("no colon", r"X\r\n", "400 close", "RFC 9112 5: name, colon, value"),
    ("no colon, a blank", r"X y\r\n", "400 close", "RFC 9112 5: name, colon, value"),
    ("an equals", r"X=y\r\n", "400 close", "RFC 9112 5: name, colon, value"),
    ("a quoted name", r'"X": y\r\n', "400 close", "RFC 9110 5.1: a name is a token"),
    ("a bracket in the name", r"X(Y): z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a slash in the name", r"X/Y: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("an at in the name", r"X@Y: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a brace in the name", r"X{Y}: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a backslash in the name", r"X\\Y: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a high byte in the name", r"X\xe9: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("NUL in the name", r"X\x00Y: z\r\n", "400 close", "RFC 9110 5.1: a name is a token"),
    ("a second request line", r"GET /readyz HTTP/1.1\r\n", "400 close", "RFC 9112 5: name, colon, value"),
    ("HTTP inside", r"HTTP/1.1 200 OK\r\n", "400 close", "RFC 9112 5: name, colon, value"),
    ("a name of 1000 bytes", r"\{X*1000}: y\r\n", "200 open", "RFC 9110 5.4: within 16 KiB"),
    ("a value of 15000 bytes", r"X: \{y*15000}\r\n", "200 open", "RFC 9110 5.4: within 16 KiB"),
    ("a value of 17000 bytes", r"X: \{y*17000}\r\n", "431 close", "RFC 6585 5: the head is over 16 KiB"),
    ("a value of 300000 bytes", r"X: \{y*300000}\r\n", "431 close", "RFC 6585 5: the head is over 16 KiB"),
    ("a name of 20000 bytes", r"\{X*20000}: y\r\n", "431 close", "RFC 6585 5: the head is over 16 KiB"),
    ("63 more lines", r"\{X: y\r\n*63}", "200 open", "64 lines are taken"),
    ("64 more lines", r"\{X: y\r\n*64}", "431 close", "RFC 6585 5: over 64 lines"),
    ("500 more lines", r"\{X: y\r\n*500}", "431 close", "RFC 6585 5: over 64 lines"),
    ("many blanks at the end", r"X: y\{ *10000}\r\n", "200 open", "RFC 9112 5: OWS, within 16 KiB"),
    ("many empty lines of headers", r"X:\r\nX:\r\nX:\r\n", "200 open", "RFC 9110 5.3"),
    ("a Set-Cookie from a client", r"Set-Cookie: a=b\r\n", "200 open", "RFC 9110 5.1: unknown here, ignored"),
    ("a Date that is none", r"Date: yesterday\r\n", "200 open", "RFC 9110 6.6.1: ignored"),
    ("a Range", r"Range: bytes=0-0\r\n", "200 open", "RFC 9110 14.2: may be ignored"),
    ("a Range of a thousand parts", r"Range: bytes=\{0-,*1000}0-\r\n", "200 open", "RFC 9110 14.2: may be ignored"),
    ("If-None-Match", r"If-None-Match: *\r\n", "200 open", "RFC 9110 13.1: no validators here"),
    ("Accept that fits nothing", r"Accept: image/png\r\n", "200 open", "RFC 9110 12.5.1: may be disregarded"),
    ("Accept-Encoding identity;q=0", r"Accept-Encoding: identity;q=0\r\n", "200 open", "RFC 9110 12.5.3: may be disregarded"),
    ("Max-Forwards", r"Max-Forwards: 0\r\n", "200 open", "RFC 9110 7.6.2: only TRACE and OPTIONS"),
    ("X-HTTP-Method-Override", r"X-HTTP-Method-Override: DELETE\r\n", "200 open", "the method is in the request line"),
    ("X-Forwarded-For, nonsense", r"X-Forwarded-For: a, b, \xe9\r\n", "200 open", "not from a trusted proxy: forgotten"),
    ("X-Original-URL", r"X-Original-URL: /v1/keys\r\n", "200 open", "the target is in the request line"),
]:
    head(f"header: {name}", line, gets, why)
KEYED = "GET /v1/keys HTTP/1.1"
for name, line, gets, why in [
    ("none", "", "401 open", "contract 3"),
    ("wrong", r"Authorization: Bearer fhk_wrong\r\n", "401 open", "contract 3"),
    ("empty", r"Authorization:\r\n", "401 open", "contract 3"),
    ("Bearer alone", r"Authorization: Bearer\r\n", "401 open", "contract 3"),
    ("Basic", r"Authorization: Basic dTpw\r\n", "401 open", "contract 3"),
    ("not UTF-8", r"Authorization: Bearer fhk_\xff\r\n", "401 open", "unreadable is not absent, and not right"),
    ("right", K, "200 open", "contract 2"),
    ("right, the scheme in small letters", r"authorization: bearer fhk_test-admin-key-0123456789abcdef\r\n", "200 open",
     "RFC 9110 11.1: case-insensitive"),
    ("wrong, then right", r"Authorization: Bearer fhk_wrong\r\n" + K, "401 open", "the first counts; one way only"),
    ("of 10000 bytes", r"Authorization: Bearer \{f*10000}\r\n", "401 open", "contract 3"),
    ("in the query", r"", "401 open", "contract 2: a key is a header"),
]:
    line_of = KEYED if name != "in the query" else "GET /v1/keys?key=fhk_test-admin-key-0123456789abcdef HTTP/1.1"
    head(f"key: {name}", line, gets, why, line=line_of)

# ------------------------------------------------------------------------------------------------------------------
section("Content-Length")

LENGTH = "RFC 9110 8.6: 1*DIGIT; RFC 9112 6.3: refused and closed"
body("length: exact", r"Content-Length: 19\r\n", NOWHERE, "404 open", "RFC 9112 6.2")
body("length: exact, in two packets", r"Content-Length: 19\r\n", r'{"deploy\.ment":"no"}', "404 open", "RFC 9112 6.2")
body("length: exact, the head in two packets", r"Content-Le\.ngth: 19\r\n", NOWHERE, "404 open", "RFC 9112 6.2")
body("length: leading zeros", r"Content-Length: 00019\r\n", NOWHERE, "404 open", "RFC 9110 8.6: 1*DIGIT")
body("length: blanks around", r"Content-Length:   19 \t\r\n", NOWHERE, "404 open", "RFC 9112 5: OWS")
body("length: other case", r"cOnTeNt-LeNgTh: 19\r\n", NOWHERE, "404 open", "RFC 9110 5.1")
body("length: zero", r"Content-Length: 0\r\n", "", "400 open", "contract 3: an absent body equals {}")
body("length: none", "", "", "400 open", "RFC 9112 6.3: no body; contract 3: {}")
body("length: none, a body behind", "", NOWHERE, "400 400 close", "RFC 9112 6.3: no body, so what follows is no request")
body("length: zero, a body behind", r"Content-Length: 0\r\n", NOWHERE, "400 400 close", "RFC 9112 6.3: no body")
body("length: too short by one", r"Content-Length: 18\r\n", NOWHERE + E, "400 400 close",
     "RFC 9112 6.3: the rest is no request")
body("length: too long by one, then the end", r"Content-Length: 20\r\n", NOWHERE + r"\z", "400 close",
     "RFC 9112 8: an incomplete body")
body("length: the next request behind", r"Content-Length: 19\r\n", NOWHERE + NEXT, "404 200 open", "RFC 9112 9.3.2")
body("length: an empty line behind", r"Content-Length: 19\r\n", NOWHERE + E + NEXT, "404 200 open",
     "RFC 9112 2.2: an empty line before a request line is ignored")
body("length: twice the same", r"Content-Length: 19\r\nContent-Length: 19\r\n", NOWHERE, "404 open",
     "RFC 9110 8.6: equal ones may be taken as one")
for name, value in [
    ("with plus", "+19"), ("with minus", "-19"), ("minus zero", "-0"), ("hexadecimal", "0x13"), ("letters", "abc"),
    ("empty", ""), ("a point", "19.0"), ("an exponent", "1e1"), ("a list of equals", "19, 19"), ("a list", "19,20"),
    ("a blank inside", "1 9"), ("a comma at the end", "19,"), ("a semicolon", "19;"), ("quotes", '"19"'),
    ("a letter at the end", "19a"), ("an underscore", "1_9"), ("an apostrophe", "1'9"), ("full-width digits", r"\xef\xbc\x91"),
    ("Arabic digits", r"\xd9\xa1\xd9\xa9"), ("a no-break blank", r"19\xa0"), ("a word", "nineteen"), ("infinity", "inf"),
    ("not a number", "NaN"), ("brackets", "(19)"),
]:
    body(f"length: {name}", f"Content-Length: {value}\\r\\n", NOWHERE + NEXT, "400 close", LENGTH)
for name, first, second in [
    ("different", "19", "20"), ("different, zero first", "0", "19"), ("different, zero last", "19", "0"),
    ("one good, one bad", "19", "abc"), ("one bad, one good", "abc", "19"), ("one empty", "19", ""),
]:
    body(f"length: two, {name}", f"Content-Length: {first}\\r\\nContent-Length: {second}\\r\\n", NOWHERE + NEXT,
         "400 close", "RFC 9112 6.3: differing or invalid lengths")
body("length: equal in another spelling", r"Content-Length: 19\r\nContent-Length: 019\r\n", NOWHERE, "404 open",
     "RFC 9110 8.6: the same number")
for name, value, gets in [
    ("1 MiB and one", "1048577", "413 close"), ("4 GiB", "4294967296", "413 close"), ("10 TB", "10000000000000", "413 close"),
    ("2^63 - 1", "9223372036854775807", "413 close"), ("2^64 - 3", "18446744073709551613", "413 close"),
]:
    body(f"length: {name}", f"Content-Length: {value}\\r\\n", "", gets, "contract 3: over the limit, nothing is read")
for name, value in [("2^64 - 2", "18446744073709551614"), ("2^64 - 1", "18446744073709551615")]:
    body(f"length: {name}", f"Content-Length: {value}\\r\\n", "", "431 close", "the parser's own ceiling; closed unread")
for name, value in [("2^64", "18446744073709551616"), ("2^64 + 19", "18446744073709551635"), ("10^100", r"1\{0*100}")]:
    body(f"length: {name}", f"Content-Length: {value}\\r\\n", NOWHERE + NEXT, "400 close", "RFC 9110 8.6: overflow is guarded")
case("length: over the limit, no key", INVOKE + E + H + r"Content-Length: 10000000000000\r\n\r\n", "413 close",
     "contract 3: the length is judged from the head")
case("length: no key, a body", INVOKE + E + H + r"Content-Length: 19\r\n\r\n" + NOWHERE + NEXT, "401 close",
     "contract 3: refused before the body is read, so the connection ends")
case("length: a body for nobody", "POST /nowhere HTTP/1.1" + E + H + r"Content-Length: 19\r\n\r\n" + NOWHERE + NEXT,
     "404 close", "refused before the body is read, so the connection ends")
case("length: a body for another method", "PUT /healthz HTTP/1.1" + E + H + r"Content-Length: 19\r\n\r\n" + NOWHERE + NEXT,
     "405 close", "refused before the body is read, so the connection ends")
body("length: GET with a body", r"Content-Length: 19\r\n", NOWHERE + NEXT, "200 200 open",
     "RFC 9110 9.3.1: no meaning, but framed all the same", line=UP)
body("length: HEAD with a body", r"Content-Length: 19\r\n", NOWHERE + NEXT, "h200 200 open", "RFC 9112 6.3",
     line="HEAD /healthz HTTP/1.1")
body("length: GET with a request as its body", r"Content-Length: 41\r\n", NEXT, "200 open",
     "RFC 9112 6.3: a body is no request", line=UP)
body("length: HTTP/1.0", r"Content-Length: 19\r\n", NOWHERE, "404 close", "RFC 9112 6.2",
     line="POST /v1/workflow/invoke HTTP/1.0")
body("length: HTTP/1.0 without one", "", NOWHERE, "400 close", "RFC 9112 6.3: no body; contract 3: {}",
     line="POST /v1/workflow/invoke HTTP/1.0")
body("length: a body of 1 MiB", r"Content-Length: 1048576\r\n", r"\{ *1048557}" + NOWHERE, "404 open", "contract 3: at the limit")
body("length: a body over the limit, sent", r"Content-Length: 1048577\r\n", r"\{ *1048558}" + NOWHERE, "413 close",
     "contract 3: the close lingers, so that this is read")
body("length: nothing comes, then the end", r"Content-Length: 19\r\n", r"\z", "400 close", "RFC 9112 8: an incomplete body")
body("length: half comes, then the end", r"Content-Length: 19\r\n", r'{"deploy\z', "400 close", "RFC 9112 8: an incomplete body")

# ------------------------------------------------------------------------------------------------------------------
section("Transfer-Encoding")

GOOD = r"13\r\n" + NOWHERE + r"\r\n0\r\n\r\n"
chunked("coding: chunked", GOOD, "404 open", "RFC 9112 7.1")
body("coding: capital letters", r"Transfer-Encoding: CHUNKED\r\n", GOOD, "404 open", "RFC 9112 7: case-insensitive")
body("coding: mixed letters", r"transfer-encoding: Chunked\r\n", GOOD, "404 open", "RFC 9112 7: case-insensitive")
body("coding: blanks around", r"Transfer-Encoding:  \t chunked \t\r\n", GOOD, "404 open", "RFC 9112 5: OWS")
ONE = "RFC 9112 6.1: only a single chunked is implemented: 501, closed"
for name, value in [
    ("gzip, chunked", "gzip, chunked"), ("chunked twice in one", "chunked, chunked"), ("identity, chunked", "identity, chunked"),
    ("a comma before", ", chunked"), ("an unknown one before", "x, chunked"), ("no blank", "gzip,chunked"),
    ("deflate, gzip, chunked", "deflate, gzip, chunked"), ("a quoted one before", '"x", chunked'),
]:
    body(f"coding: {name}", f"Transfer-Encoding: {value}\\r\\n", GOOD + NEXT, "501 close", ONE)
body("coding: chunked twice", r"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", GOOD + NEXT, "501 close", ONE)
body("coding: gzip and chunked on two lines", r"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", GOOD + NEXT,
     "501 close", ONE)
LAST = "RFC 9112 6.3: chunked is not the last coding: 400, closed"
for name, value in [
    ("xchunked", "xchunked"), ("chunkedx", "chunkedx"), ("identity", "identity"), ("gzip", "gzip"), ("empty", ""),
    ("chunked, gzip", "chunked, gzip"), ("chunked, identity", "chunked, identity"), ("a comma behind", "chunked,"),
    ("a parameter", "chunked;q=1"), ("quoted", '"chunked"'), ("single quotes", "'chunked'"), ("a blank inside", "chun ked"),
    ("a vertical tab before", r"\x0bchunked"), ("a vertical tab behind", r"chunked\x0b"), ("a form feed", r"\x0cchunked"),
    ("a NUL behind", r"chunked\x00"), ("a high byte behind", r"chunked\xa0"), ("a high byte before", r"\xffchunked"),
    ("a control before", r"\x01chunked"), ("brackets", "(chunked)"), ("cow", "cow"), ("chunk", "chunk"), ("an equals", "=chunked"),
    ("a semicolon before", ";chunked"), ("a colon before", ":chunked"), ("a Kelvin sign", r"chun\xe2\x84\xaaed"),
]:
    body(f"coding: {name}", f"Transfer-Encoding: {value}\\r\\n", GOOD + NEXT, "400 close", LAST)
body("coding: chunked, then identity on two lines", r"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
     GOOD + NEXT, "400 close", LAST)
body("coding: chunked, then cow on two lines", r"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n",
     GOOD + NEXT, "400 close", LAST)
body("coding: cow, then chunked on two lines", r"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
     GOOD + NEXT, "501 close", ONE)
body("coding: empty, then chunked", r"Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n", GOOD + NEXT, "501 close", ONE)
BOTH = "RFC 9112 6.1: the coding alone counts, and the connection is closed"
for name, headers in [
    ("length first", r"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
    ("length last", r"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
    ("length zero", r"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
    ("the right length", r"Content-Length: 29\r\nTransfer-Encoding: chunked\r\n"),
    ("length far too large", r"Content-Length: 10000000000000\r\nTransfer-Encoding: chunked\r\n"),
    ("length twice", r"Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
]:
    body(f"both: {name}", headers, GOOD + NEXT, "404 close", BOTH)
for name, headers, gets, why in [
    ("a bad length first", r"Content-Length: abc\r\nTransfer-Encoding: chunked\r\n", "400 close", LENGTH),
    ("a bad length last", r"Transfer-Encoding: chunked\r\nContent-Length: abc\r\n", "404 close",
     "RFC 9112 6.3: the coding overrides any length, and the connection is closed"),
    ("two lengths", r"Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n", "400 close", LENGTH),
    ("a coding that is unknown", r"Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n", "400 close", LAST),
    ("an unknown coding first", r"Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n", "400 close", LAST),
    ("identity", r"Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "400 close", LAST),
    ("gzip, chunked", r"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n", "501 close", ONE),
    ("a blank before the colon", r"Content-Length: 19\r\nTransfer-Encoding : chunked\r\n", "400 close", "RFC 9112 5.1"),
    ("an underscore", r"Content-Length: 19\r\nTransfer_Encoding: chunked\r\n", "404 200 open",
     "RFC 9110 5.1: another name; the length counts"),
    ("a tab in the coding's name", r"Content-Length: 19\r\nTransfer-\tEncoding: chunked\r\n", "400 close", "RFC 9110 5.1"),
    ("the coding behind a bare CR", r"Content-Length: 19\r\nX: y\rTransfer-Encoding: chunked\r\n", "400 close", "RFC 9112 2.2"),
    ("the coding behind a bare LF", r"Content-Length: 19\r\nX: y\nTransfer-Encoding: chunked\r\n", "400 close",
     "RFC 9112 2.2: LF ends a line, so both count; the bytes are no chunks; closed"),
    ("the coding folded away", r"Content-Length: 19\r\nX: y\r\n Transfer-Encoding: chunked\r\n", "400 close", "RFC 9112 5.2"),
]:
    content = NOWHERE + NEXT if "19" in headers else GOOD + NEXT
    body(f"both: {name}", headers, content, gets, why)
body("both: CL.TE smuggling", r"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", r"0\r\n\r\nG", "400 close", BOTH)
body("both: TE.CL smuggling", r"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
     r"29\r\n" + NEXT + r"\r\n0\r\n\r\n", "400 close", BOTH)
body("both: in HTTP/1.0", r"Content-Length: 19\r\nTransfer-Encoding: chunked\r\n", NOWHERE + NEXT, "400 close",
     "RFC 9112 6.1: a coding in HTTP/1.0 is faulty framing", line="POST /v1/workflow/invoke HTTP/1.0")
body("coding: in HTTP/1.0", r"Transfer-Encoding: chunked\r\n", GOOD, "400 close",
     "RFC 9112 6.1: a coding in HTTP/1.0 is faulty framing", line="POST /v1/workflow/invoke HTTP/1.0")
body("coding: in HTTP/1.0, keep-alive", r"Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n", GOOD + NEXT, "400 close",
     "RFC 9112 6.1: a coding in HTTP/1.0 is faulty framing", line="POST /v1/workflow/invoke HTTP/1.0")
body("coding: GET with chunks", r"Transfer-Encoding: chunked\r\n", GOOD + NEXT, "200 200 open", "RFC 9112 6.3: framed all the same",
     line=UP)
body("coding: TE header", r"TE: trailers, chunked\r\n", "", "200 open", "RFC 9110 10.1.4: about answers", line=UP)
case("coding: no key", INVOKE + E + H + r"Transfer-Encoding: chunked\r\n\r\n" + GOOD + NEXT, "401 close",
     "contract 3: refused before the body is read, so the connection ends")

# ------------------------------------------------------------------------------------------------------------------
section("chunks")

N = NOWHERE
for name, content, gets, why in [
    ("one byte each", "".join(f"1\\r\\n{c}\\r\\n" for c in N) + r"0\r\n\r\n", "404 open", "RFC 9112 7.1"),
    ("two", r"5\r\n" + N[:5] + r"\r\ne\r\n" + N[5:] + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1"),
    ("capital hex", r"5\r\n" + N[:5] + r"\r\nE\r\n" + N[5:] + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1: HEXDIG"),
    ("leading zeros", r"00013\r\n" + N + r"\r\n000\r\n\r\n", "404 open", "RFC 9112 7.1: 1*HEXDIG"),
    ("15 leading zeros", r"00000000000000013\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1: 1*HEXDIG, below 2^64"),
    ("empty", r"0\r\n\r\n", "400 open", "no body; contract 3: {}"),
    ("in packets", r"1\.3\r\.\n" + N[:9] + r"\." + N[9:] + r"\r\.\n0\.\r\n\r\.\n", "404 open", "RFC 9112 2.2: packets are no borders"),
    ("an extension", r"13;a=b\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1: unknown ones are ignored"),
    ("an extension without a value", r"13;a\r\n" + N + r"\r\n0;z\r\n\r\n", "404 open", "RFC 9112 7.1.1"),
    ("a quoted extension", r'13;a="b;c"\r\n' + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1"),
    ("an empty extension", r"13;\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1 wants a name; ignored like the rest"),
    ("a blank before an extension", r"13 ;a=b\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1: BWS"),
    ("a tab before an extension", r"13\t;a=b\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1: BWS"),
    ("an extension of 1000 bytes", r"13;\{a*1000}\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1: below the limit"),
    ("an extension of 40000 bytes", r"13;\{a*40000}\r\n" + N + r"\r\n0\r\n\r\n", "400 close", "RFC 9112 7.1.1: a limit on their length"),
    ("many extensions", "".join(f"1;\\{{e*1500}}\\r\\n{c}\\r\\n" for c in N) + r"0\r\n\r\n", "400 close",
     "RFC 9112 7.1.1: a limit on their total length"),
    ("a bare LF in an extension", r"13;a\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1.1: no line end there"),
    ("a CR in an extension", r"13;a\rb\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 2.2: a bare CR"),
    ("a blank behind the size", r"13 \r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1.1 permits BWS before `;`; taken alone too"),
    ("a trailer", r"13\r\n" + N + r"\r\n0\r\nX: y\r\n\r\n", "404 close", "RFC 9112 7.1.2: read and forgotten; trailers end the connection"),
    ("two trailers", r"13\r\n" + N + r"\r\n0\r\nX: y\r\nZ: a\r\n\r\n" + NEXT, "404 close", "RFC 9112 7.1.2: forgotten; trailers end the connection"),
    ("a trailer that frames", r"13\r\n" + N + r"\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n" + NEXT, "404 close",
     "RFC 9110 6.5.1: must not count; trailers end the connection"),
    ("a trailer that is a key", r"13\r\n" + N + r"\r\n0\r\nAuthorization: Bearer x\r\nHost: evil.example\r\n\r\n" + NEXT,
     "404 close", "RFC 9110 6.5.1: must not count; trailers end the connection"),
    ("65 trailers", r"13\r\n" + N + r"\r\n0\r\n\{X: y\r\n*65}\r\n", "400 close", "RFC 6585 5: over 64 lines"),
    ("a trailer of 20000 bytes", r"13\r\n" + N + r"\r\n0\r\nX: \{y*20000}\r\n\r\n", "400 close", "over 16 KiB"),
    ("a trailer with NUL", r"13\r\n" + N + r"\r\n0\r\nX: a\x00\r\n\r\n" + NEXT, "400 close", "RFC 9110 5.5"),
    ("a trailer without a colon", r"13\r\n" + N + r"\r\n0\r\nX\r\n\r\n" + NEXT, "400 close", "RFC 9112 5"),
    ("a trailer folded", r"13\r\n" + N + r"\r\n0\r\nX: a\r\n b\r\n\r\n" + NEXT, "400 close", "RFC 9112 5.2"),
    ("a request in place of a trailer", r"13\r\n" + N + r"\r\n0\r\n" + NEXT, "400 close", "RFC 9112 7.1.2: no header line"),
    ("no size", r"\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: 1*HEXDIG"),
    ("a size with plus", r"+13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with minus", r"-1\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with 0x", r"0x13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with g", r"1g\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with an underscore", r"1_3\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with a point", r"13.\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with a comma", r"13,13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size in quotes", r'"13"\r\n' + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with a high byte", r"13\xa0\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size with NUL", r"13\x00\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a blank before the size", r" 13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG first"),
    ("a blank inside the size", r"1 3\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: HEXDIG"),
    ("a size of 2^64 - 1", r"ffffffffffffffff\r\n" + N + r"\z", "400 close", "RFC 9112 8: an incomplete body; nothing was set aside for it"),
    ("a size of 2^64", r"10000000000000000\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: overflow is guarded"),
    ("a size of 2^64 and 19", r"10000000000000013\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: overflow is guarded"),
    ("a size of 40 digits", r"\{f*40}\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: overflow is guarded"),
    ("a size ended by LF", r"13\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF; LF is for heads only"),
    ("a size ended by CR", r"13\r" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("data ended by LF", r"13\r\n" + N + r"\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("data ended by CR", r"13\r\n" + N + r"\r0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("data ended by nothing", r"13\r\n" + N + r"0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("data ended by two other bytes", r"13\r\n" + N + r"XX0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("data too long", r"12\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF is due"),
    ("data too short", r"14\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF is due"),
    ("last chunk ended by LF", r"13\r\n" + N + r"\r\n0\n\n" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("the end of the trailers by LF", r"13\r\n" + N + r"\r\n0\r\n\n" + NEXT, "404 close",
     "RFC 9112 7.1: CRLF; to some eyes a request follows, which the parser takes for trailers: so the connection ends"),
    ("the end of the trailers by two LFs", r"13\r\n" + N + r"\r\n0\r\nX: y\n\n" + NEXT, "404 close",
     "the same behind a trailer"),
    ("the end of the trailers by CR", r"13\r\n" + N + r"\r\n0\r\n\r" + NEXT, "400 close", "RFC 9112 7.1: CRLF"),
    ("the end, then bytes", r"13\r\n" + N + r"\r\n0\r\n\r\nX\r\n\r\n", "404 400 close", "what follows is no request"),
    ("the next request behind", r"13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "404 200 open", "RFC 9112 9.3.2"),
    ("no last chunk, then the end", r"13\r\n" + N + r"\r\n\z", "400 close", "RFC 9112 8: an incomplete body"),
    ("half a chunk, then the end", r"13\r\n" + N[:5] + r"\z", "400 close", "RFC 9112 8: an incomplete body"),
    ("half a size, then the end", r"1\z", "400 close", "RFC 9112 8: an incomplete body"),
    ("no end of the trailers, then the end", r"13\r\n" + N + r"\r\n0\r\n\z", "400 close", "RFC 9112 8: an incomplete body"),
    ("nothing, then the end", r"\z", "400 close", "RFC 9112 8: an incomplete body"),
    ("1 MiB", r"fffed\r\n\{ *1048557}\r\n13\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "contract 3: at the limit"),
    ("over 1 MiB", r"fffee\r\n\{ *1048558}\r\n13\r\n" + N + r"\r\n0\r\n\r\n" + NEXT, "413 close", "contract 3: over the limit"),
    ("over 1 MiB in one", r"200000\r\n\{ *2097152}\r\n0\r\n\r\n" + NEXT, "413 close", "contract 3: over the limit"),
    ("thousands", r"\{1\r\n \r\n*3000}13\r\n" + N + r"\r\n0\r\n\r\n", "404 open", "RFC 9112 7.1: any number"),
]:
    chunked(f"chunk: {name}", content, gets, why)

# ------------------------------------------------------------------------------------------------------------------
section("Expect, Connection, Upgrade")

for name, value, gets, why in [
    ("100-continue", "100-continue", "404 open", "RFC 9110 10.1.1: a 100 comes first, then the answer"),
    ("100-continue, other case", "100-Continue", "404 open", "RFC 9110 10.1.1: case-insensitive"),
    ("unknown", "a-miracle", "417 close", "RFC 9110 10.1.1: 417"),
    ("empty", "", "417 close", "RFC 9110 10.1.1: 417"),
    ("a list", "100-continue, more", "417 close", "RFC 9110 10.1.1: 417"),
    ("100-continue twice in one", "100-continue, 100-continue", "417 close", "not the one form that is known: 417"),
    ("a parameter", "100-continue;q=1", "417 close", "RFC 9110 10.1.1: 417"),
    ("quoted", '"100-continue"', "417 close", "RFC 9110 10.1.1: 417"),
    ("200-ok", "200-ok", "417 close", "RFC 9110 10.1.1: 417"),
]:
    body(f"expect: {name}", f"Expect: {value}\\r\\nContent-Length: 19\\r\\n", NOWHERE, gets, why)
body("expect: twice", r"Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 19\r\n", NOWHERE, "404 open", "RFC 9110 5.3")
body("expect: known and unknown", r"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 19\r\n", NOWHERE, "417 close", "RFC 9110 10.1.1")
body("expect: chunks", r"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", GOOD, "404 open", "RFC 9110 10.1.1")
body("expect: no body", r"Expect: 100-continue\r\n", "", "400 open", "RFC 9110 10.1.1: nothing to wait for")
body("expect: over the limit", r"Expect: 100-continue\r\nContent-Length: 1048577\r\n", "", "413 close",
     "RFC 9110 10.1.1: the final answer at once, no 100")
case("expect: no key", INVOKE + E + H + r"Expect: 100-continue\r\nContent-Length: 19\r\n\r\n", "401 close",
     "RFC 9110 10.1.1: the final answer at once, no 100")
case("expect: no key, the body sent anyway", INVOKE + E + H + r"Expect: 100-continue\r\nContent-Length: 19\r\n\r\n" + NOWHERE + NEXT,
     "401 close", "RFC 9110 10.1.1: the body may come or not, so the connection ends")
body("expect: HTTP/1.0", r"Expect: 100-continue\r\nContent-Length: 19\r\n", NOWHERE, "404 close",
     "RFC 9110 10.1.1: ignored in HTTP/1.0", line="POST /v1/workflow/invoke HTTP/1.0")
head("expect: unknown with GET", r"Expect: x\r\n", "417 close", "RFC 9110 10.1.1: 417")
for name, value, gets, why in [
    ("close", "close", "200 close", "RFC 9112 9.6"), ("Close", "Close", "200 close", "RFC 9112 9.6: case-insensitive"),
    ("keep-alive", "keep-alive", "200 open", "RFC 9112 9.3"), ("keep-alive, close", "keep-alive, close", "200 close", "RFC 9112 9.3: close wins"),
    ("close, keep-alive", "close, keep-alive", "200 close", "RFC 9112 9.3: close wins"), ("empty", "", "200 open", "RFC 9112 9.3"),
    ("unknown", "x", "200 open", "RFC 9110 7.6.1"), ("closed", "closed", "200 open", "another token"),
    ("a comma", ",", "200 open", "RFC 9110 5.6.1.2: empty elements are ignored"),
    ("a comma, close", ", close", "200 close", "RFC 9110 5.6.1.2: empty elements are ignored"),
    ("naming the length", "Content-Length", "200 open", "RFC 9110 7.6.1: not listened to"),
]:
    head(f"connection: {name}", f"Connection: {value}\\r\\n", gets, why)
head("connection: close on two lines", r"Connection: keep-alive\r\nConnection: close\r\n", "200 close", "RFC 9112 9.3: close wins")
head("connection: close, then keep-alive", r"Connection: close\r\nConnection: keep-alive\r\n", "200 close", "RFC 9112 9.3: close wins")
case("connection: close, a request behind", UP + E + H + r"Connection: close\r\n\r\n" + NEXT, "200 close",
     "RFC 9112 9.6: nothing after it is answered")
for name, headers, gets, why in [
    ("alone", "", "200 close", "RFC 9112 9.3: closes"), ("keep-alive", r"Connection: keep-alive\r\n", "200 open", "RFC 9112 9.3"),
    ("Keep-Alive", r"Connection: Keep-Alive\r\n", "200 open", "RFC 9112 9.3: case-insensitive"),
    ("close", r"Connection: close\r\n", "200 close", "RFC 9112 9.6"),
    ("a Keep-Alive header alone", r"Keep-Alive: 300\r\n", "200 close", "RFC 9112 9.3: the Connection option counts"),
    ("Proxy-Connection", r"Proxy-Connection: keep-alive\r\n", "200 close", "RFC 9112 C.2.2: not listened to"),
]:
    head(f"1.0: {name}", headers, gets, why, line="GET /healthz HTTP/1.0")
case("1.0: a request behind", r"GET /healthz HTTP/1.0\r\n\r\n" + NEXT, "200 close", "RFC 9112 9.3: nothing after it is answered")
head("1.0: HEAD", "", "h200 close", "RFC 9110 9.3.2: no body", line="HEAD /healthz HTTP/1.0")
case("1.0: the simple request of 0.9", r"GET /healthz\r\n", "400 close", "RFC 9112 3: not spoken")
for name, headers, why in [
    ("h2c", r"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", "RFC 9113 3.1: declined by answering"),
    ("websocket", r"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n",
     "RFC 9110 7.8: declined by answering"),
    ("TLS", r"Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n", "RFC 9110 7.8: declined by answering"),
    ("unknown", r"Connection: upgrade\r\nUpgrade: x/9\r\n", "RFC 9110 7.8: declined by answering"),
    ("without Connection", r"Upgrade: h2c\r\n", "RFC 9110 7.8: not meant for us"),
]:
    head(f"upgrade: {name}", headers, "200 open", why)
case("upgrade: bytes of the other protocol behind", UP + E + H + r"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\n\r\n",
     "200 400 close", "RFC 9110 7.8: declined, so they are no request")

# ------------------------------------------------------------------------------------------------------------------
section("pipelines")

G = UP + E + H + E
HEAD = r"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
NO = r"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = INVOKE + E + H + K + r"Content-Length: 19\r\n\r\n" + NOWHERE
CHUNKS = INVOKE + E + H + K + r"Transfer-Encoding: chunked\r\n\r\n" + GOOD
for name, send, gets, why in [
    ("two", G + NEXT, "200 200 open", "RFC 9112 9.3.2: answered in order"),
    ("ten", G * 10, "200*10 open", "RFC 9112 9.3.2"),
    ("a hundred", r"\{" + G + "*100}", "200*100 open", "RFC 9112 9.3.2"),
    ("different ones", G + NO + HEAD + NEXT, "200 404 h200 200 open", "RFC 9112 9.3.2: in order"),
    ("HEAD before GET", HEAD + G, "h200 200 open", "RFC 9110 9.3.2: no body of HEAD to be mistaken"),
    ("HEAD of an error", r"HEAD /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n" + G, "h404 200 open", "RFC 9110 9.3.2"),
    ("HEAD five times", HEAD * 5 + NO, "h200 h200 h200 h200 h200 404 open", "RFC 9110 9.3.2"),
    ("a body between", G + POST + G, "200 404 200 open", "RFC 9112 9.3.2"),
    ("bodies", POST * 4, "404 404 404 404 open", "RFC 9112 9.3.2"),
    ("chunks between", G + CHUNKS + G, "200 404 200 open", "RFC 9112 9.3.2"),
    ("chunks and lengths", CHUNKS + POST + CHUNKS + POST, "404 404 404 404 open", "RFC 9112 9.3.2"),
    ("cut within a head", G + r"GET /rea\.dyz HTTP/1.1\r\nHost: localhost\r\n\r\n", "200 200 open", "RFC 9112 2.2"),
    ("cut within a body", POST[:-9] + r"\." + POST[-9:] + G, "404 200 open", "RFC 9112 2.2"),
    ("an empty line between", G + E + G, "200 200 open", "RFC 9112 2.2: ignored"),
    ("five empty lines between", G + E * 5 + G, "200 200 open", "RFC 9112 2.2: ignored"),
    ("a bare LF between", G + r"\n" + G, "200 200 open", "RFC 9112 2.2: ignored"),
    ("close on the first", UP + E + H + r"Connection: close\r\n\r\n" + G, "200 close", "RFC 9112 9.6"),
    ("close on the second", G + UP + E + H + r"Connection: close\r\n\r\n" + G, "200 200 close", "RFC 9112 9.6"),
    ("a bad one last", G + r"GET /healthz HTTP/9.9\r\n\r\n", "200 400 close", "RFC 9112 9.6"),
    ("a bad one between", G + r"GET /healthz HTTP/1.1\r\n\r\n" + G, "200 400 close", "a refused form ends the connection"),
    ("a bad one first", r"GET /healthz HTTP/1.1\r\n\r\n" + G, "400 close", "a refused form ends the connection"),
    ("a missing key between", G + KEYED + E + H + E + G, "200 401 200 open", "contract 3: without a body it goes on"),
    ("1.0 between", G + r"GET /healthz HTTP/1.0\r\n\r\n" + G, "200 200 close", "RFC 9112 9.3"),
    ("1.0 kept alive between", G + r"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + G, "200 200 200 open", "RFC 9112 9.3"),
    ("a refused body, a request behind", INVOKE + E + H + r"Content-Length: 41\r\n\r\n" + NEXT + NEXT, "401 close",
     "the unread body ends the connection"),
    ("a body that looks like a request", INVOKE + E + H + K + r"Content-Length: 41\r\n\r\n" + NEXT + NEXT, "400 200 open",
     "RFC 9112 6.3: a body is no request"),
    ("a chunk that looks like a request", INVOKE + E + H + K + r"Transfer-Encoding: chunked\r\n\r\n29\r\n" + NEXT + r"\r\n0\r\n\r\n" + NEXT,
     "400 200 open", "RFC 9112 7.1: a body is no request"),
    ("an expectation between", G + INVOKE + E + H + K + r"Expect: 100-continue\r\nContent-Length: 19\r\n\r\n" + NOWHERE + G,
     "200 404 200 open", "RFC 9110 10.1.1"),
    ("then the end", G + NEXT + r"\z", "close or 200 close or 200 200 close",
     "who ends his side is taken to have left"),
    ("half a request, then the end", G + r"GET /rea\z", "close or 200 close", "RFC 9112 8: incomplete"),
    ("a large head behind", G + r"GET /healthz HTTP/1.1\r\nX: \{y*30000}\r\n\r\n", "200 431 close", "RFC 6585 5"),
    ("many heads, over 16 KiB together", r"\{" + UP + E + H + "X: " + "y" * 60 + r"\r\n\r\n*300}", "200*300 open",
     "the limit is for each head, not for all of them"),
]:
    case(f"pipeline: {name}", send, gets, why)
