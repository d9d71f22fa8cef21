import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.egress.targets import UrlError, parse


def split(url):
    target = parse(url)
    return target.scheme, target.host, target.port, target.path, target.query


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://hooks.test", ("http", "hooks.test", 80, "/", "")),
        ("https://hooks.test/", ("https", "hooks.test", 443, "/", "")),
        ("HTTP://Hooks.TEST/Path", ("http", "hooks.test", 80, "/Path", "")),
        ("http://hooks.test:8080/a/b?c=d&e", ("http", "hooks.test", 8080, "/a/b", "c=d&e")),
        ("http://hooks.test?c=d", ("http", "hooks.test", 80, "/", "c=d")),
        ("http://hooks.test/a?b?c", ("http", "hooks.test", 80, "/a", "b?c")),
        ("http://hooks.test/%2e%2E/a%2Fb", ("http", "hooks.test", 80, "/%2e%2E/a%2Fb", "")),
        ("http://hooks.test./", ("http", "hooks.test", 80, "/", "")),
        ("http://a_b.test/", ("http", "a_b.test", 80, "/", "")),
        ("http://xn--bcher-kva.test/", ("http", "xn--bcher-kva.test", 80, "/", "")),
        ("http://10.0.0.1:9/", ("http", "10.0.0.1", 9, "/", "")),
        ("http://[::1]:9/", ("http", "::1", 9, "/", "")),
        ("http://[0:0::0:1]/", ("http", "::1", 80, "/", "")),
        ("http://hooks.test/a@b:c", ("http", "hooks.test", 80, "/a@b:c", "")),
    ],
)
def test_a_url_is_read_in_one_way(url, parts):
    assert parts == split(url)


@pytest.mark.parametrize(
    ("url", "netloc"),
    [
        ("http://hooks.test:80/", "hooks.test"),
        ("https://hooks.test:443/", "hooks.test"),
        ("http://hooks.test:443/", "hooks.test:443"),
        ("https://hooks.test:80/", "hooks.test:80"),
        ("http://[::1]/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
        ("http://hooks.test./", "hooks.test"),
    ],
)
def test_a_host_header_names_the_port_that_is_not_the_usual_one(url, netloc):
    assert netloc == parse(url).netloc


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "http://"),
        ("hooks.test", "http://"),
        ("//hooks.test/", "http://"),
        ("ftp://hooks.test/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("gopher://hooks.test/", "http://"),
        ("svc://qa-runner/", "http://"),
        ("http:/hooks.test/", "http://"),
        ("http:hooks.test", "http://"),
        ("http://hooks.test/#part", "fragment"),
        ("http://", "neither a name nor an address"),
        ("http:///path", "neither a name nor an address"),
        ("http://:80/", "neither a name nor an address"),
        ("http://user@hooks.test/", "credentials"),
        ("http://user:secret@hooks.test/", "credentials"),
        ("http://hooks.test@169.254.169.254/", "credentials"),
        ("http://hooks.test:80@127.0.0.1/", "credentials"),
        ("http://hooks.test:0/", "from 1 to 65535"),
        ("http://hooks.test:65536/", "from 1 to 65535"),
        ("http://hooks.test:99999/", "from 1 to 65535"),
        ("http://hooks.test:123456/", "not a number"),
        ("http://hooks.test:http/", "not a number"),
        ("http://hooks.test:-1/", "not a number"),
        ("http://hooks.test:80:80/", "not a number"),
        ("http://::1/", "not a number"),
        ("http://[::1/", "not a number"),
        ("http://[::1]x/", "not a number"),
        ("http://[]/", "usual form"),
        ("http://[hooks.test]/", "usual form"),
        ("http://[127.0.0.1]/", "usual form"),
        ("http://[fe80::1%eth0]/", "network interface"),
        ("http://[fe80::1%25eth0]/", "network interface"),
        # All of these are 127.0.0.1 to the system's resolver.
        ("http://2130706433/", "usual form"),
        ("http://0x7f000001/", "usual form"),
        ("http://0x7f.0.0.1/", "usual form"),
        ("http://0x7f.1/", "usual form"),
        ("http://017700000001/", "usual form"),
        ("http://0177.0.0.1/", "usual form"),
        ("http://127.1/", "usual form"),
        ("http://127.0.1/", "usual form"),
        ("http://127.0.0.01/", "usual form"),
        ("http://127.0.0.1.2/", "usual form"),
        ("http://256.0.0.1/", "usual form"),
        ("http://0/", "usual form"),
        ("http://hooks.test.1/", "usual form"),
        ("http://hooks..test/", "neither a name nor an address"),
        ("http://hooks.test../", "neither a name nor an address"),
        ("http://./", "neither a name nor an address"),
        ("http://.hooks.test/", "neither a name nor an address"),
        ("http://-hooks.test/", "neither a name nor an address"),
        ("http://hooks.test%2f.evil.test/", "neither a name nor an address"),
        ("http://127.0.0.1%00.hooks.test/", "neither a name nor an address"),
        ("http://hooks,test/", "neither a name nor an address"),
        ("http://hooks;test/", "neither a name nor an address"),
        (f"http://{'a' * 64}.test/", "neither a name nor an address"),
        (f"http://{'a.' * 127}test/", "neither a name nor an address"),
        ("http://hooks.test\\@evil.test/", "characters"),
        ("http://evil.test\\.hooks.test/", "characters"),
        ("http:\\\\hooks.test\\", "characters"),
        ("http://hooks.test/a b", "characters"),
        (" http://hooks.test/", "characters"),
        ("http://hooks.test/\r\nX-Evil: 1", "characters"),
        ("http://hooks.test/\t", "characters"),
        ("http://hooks.test/\x00", "characters"),
        ("http://hooks.test\n", "characters"),
        ("http://b\u00fccher.test/", "xn--"),
        ("http://\u2488.test/", "xn--"),
        ("http://\uff11\uff12\uff17.0.0.1/", "xn--"),
        ("http://127\u30020\u30020\u30021/", "xn--"),
        ("http://hooks.te\u017ft/", "xn--"),
        ("http://hooks.test/caf\u00e9", "percent-encoded"),
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url, words):
    with pytest.raises(UrlError, match=words):
        parse(url)


@given(st.text())
def test_any_text_is_a_target_or_refused(text):
    for url in (text, f"http://{text}", f"https://hooks.test{text}", f"http://hooks.test:{text}"):
        try:
            target = parse(url)
        except UrlError:
            continue
        assert target.host
        assert 1 <= target.port <= 65535
        assert target.path.startswith("/")
