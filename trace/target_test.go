package trace

import (
	"encoding/json"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestATargetIsWhatAUserTyped(t *testing.T) {
	for _, c := range []struct {
		raw, scheme, host string
		port              int
		path, method      string
	}{
		{"http://simple.baihl.io/simple/httpserver", "http", "simple.baihl.io", 80, "/simple/httpserver", "GET"},
		{"http://simple.baihl.io:31373", "http", "simple.baihl.io", 31373, "/", "GET"},
		{"HTTPS://Shop.Example.com/Cart?a=1&b=%20#frag", "https", "Shop.Example.com", 443, "/Cart?a=1&b=%20", "GET"},
		{"https://shop.example.com./", "https", "shop.example.com", 443, "/", "GET"},
		{"http://h?x=1", "http", "h", 80, "/?x=1", "GET"},
		{"http://h/?", "http", "h", 80, "/?", "GET"},
		{"http://h/a%2Fb/c", "http", "h", 80, "/a%2Fb/c", "GET"},
		{"http://h//a/../b", "http", "h", 80, "//a/../b", "GET"},
		{"http://[2001:db8::1]:8080/x", "http", "2001:db8::1", 8080, "/x", "GET"},
		{"http://10.0.0.1/", "http", "10.0.0.1", 80, "/", "GET"},
		{"http://my_service.ns.svc.cluster.local/", "http", "my_service.ns.svc.cluster.local", 80, "/", "GET"},
		{"grpc://reviews:9080/pkg.Service/Method", "grpc", "reviews", 9080, "/pkg.Service/Method", "POST"},
		{"grpc://reviews", "grpc", "reviews", 80, "/", "POST"},
		{"tcp://mysql.default:3306", "tcp", "mysql.default", 3306, "", ""},
		{"tcp://mysql.default:3306/", "tcp", "mysql.default", 3306, "", ""},
		{"tls://db.example.com:443", "tls", "db.example.com", 443, "", ""},
		{"192.168.170.137:31373", "tcp", "192.168.170.137", 31373, "", ""},
		{"[::ffff:10.0.0.1]:80", "tcp", "10.0.0.1", 80, "", ""},
		{"[2001:db8::1]:443", "tcp", "2001:db8::1", 443, "", ""},
	} {
		got, err := ParseTarget(c.raw)
		if err != nil {
			t.Errorf("%s: %v", c.raw, err)
			continue
		}
		if got.Scheme != c.scheme || got.Host != c.host || got.Port != c.port || got.Path != c.path || got.Method != c.method || got.Raw != c.raw || got.From != "external" {
			t.Errorf("%s: %+v", c.raw, got)
		}
	}
}

func TestWhatIsNoTargetIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{"", "neither a URL"},
		{"shop.example.com", "neither a URL"},
		{"shop.example.com:80", "neither a URL"},
		{"10.0.0.1", "neither a URL"},
		{"10.0.0.1:0", "neither a URL"},
		{"10.0.0.1:65536", "neither a URL"},
		{"2001:db8::1:80", "neither a URL"},
		{"[fe80::1%eth0]:80", "zone"},
		{"http://[fe80::1%25eth0]/", "zone"},
		{"ftp://h/", `scheme "ftp" is none of`},
		{"http://", "no host"},
		{"http:///path", "no host"},
		{"http://:80/", "no host"},
		{"http://h:/", "no port after the colon"},
		{"http://h:0/", "not in 1-65535"},
		{"http://h:65536/", "not in 1-65535"},
		{"http://h:99999999999999999999/", "not in 1-65535"},
		{"http://h:x/", "port"},
		{"http://a..b/", "not a name or an address"},
		{"http://h../", "not a name or an address"},
		{"http://a*b/", "not a name or an address"},
		{"http://10.0.0.300/", "ends in a number but is not an address"},
		{"http://1234/", "ends in a number but is not an address"},
		{"http://bücher.example/", "not ASCII"},
		{"http://" + strings.Repeat("a", 64) + ".example/", "not a name or an address"},
		{"http://" + strings.Repeat("a.", 130) + "b/", "longer than 253"},
		{"http://" + strings.Repeat("a", 9000), "at most 8192"},
		{"http://h/a b", "blank or control"},
		{"http://h/\x1b[2J", "blank or control"},
		{"http://h/\xff", "blank or control"},
		{"http://h/%zz", "invalid URL escape"},
		{"http://[::1/", "missing ']'"},
		{"tcp://h", "needs a port"},
		{"tls://h", "needs a port"},
		{"tcp://h:1/path", "takes no path"},
		{"tcp://h:1?x=1", "takes no path and no query"},
		{"tls://h:1#x", "takes no path and no query"},
		{"http://user:hunter2@h/", "user name or password"},
		{"http://user:hunter2@h:x/", "credentials are sent with -H"},
		{"http://user:hun ter2@h/", "blank"},
		{"ftp://user:hunter2@h/", "ftp"},
		{"http://user:hunter2/@h:x/", "h:x"},
	} {
		got, err := ParseTarget(c.raw)
		if err == nil {
			t.Errorf("%q is taken for %+v", c.raw, got)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.raw, err, c.want)
		}
		if strings.Contains(err.Error(), "hunter2") || strings.ContainsAny(err.Error(), "\x1b\n") || len(err.Error()) > 500 {
			t.Errorf("%q: the message shows what it must not, or too much: %v", c.raw, err)
		}
	}
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"http://h:80/p?q", "10.0.0.1:80", "[::1]:80", "tcp://a.b:1", "tls://h:443", "http://u:p@h", "http://[::1%25a]:1/", "grpc://x/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParseTarget(raw)
		if err != nil {
			return
		}
		if got.Port < 1 || got.Port > 65535 || got.Host == "" || strings.ContainsAny(got.Host, " []/@%\x00") {
			t.Fatalf("%q: %+v", raw, got)
		}
		if got.HTTP() != strings.HasPrefix(got.Path, "/") || got.HTTP() != (got.Method != "") {
			t.Fatalf("%q: %+v", raw, got)
		}
		// What it says of itself reads the same again.
		u := got.Scheme + "://" + got.HostPort() + got.Path
		again, err := ParseTarget(u)
		if err != nil || again.Host != got.Host || again.Port != got.Port || again.Path != got.Path {
			t.Fatalf("%q is %q, which is %+v, %v", raw, u, again, err)
		}
	})
}

func TestResolveIsCurlsAndMayNameAPort(t *testing.T) {
	for _, c := range []struct{ in, key, addr string }{
		{"simple.baihl.io:80:192.168.170.137", "simple.baihl.io:80", "192.168.170.137"},
		{"simple.baihl.io:80:192.168.170.137:31373", "simple.baihl.io:80", "192.168.170.137:31373"},
		{"Shop.Example.com.:443:10.0.0.1", "shop.example.com:443", "10.0.0.1"},
		{"h:80:[2001:db8::1]", "h:80", "2001:db8::1"},
		{"h:80:2001:db8::1", "h:80", "2001:db8::1"},
		{"h:80:[2001:db8::1]:8080", "h:80", "[2001:db8::1]:8080"},
		{"h:080:::1", "h:80", "::1"},
		{"*:443:10.0.0.1", "*:443", "10.0.0.1"},
		{"+h:443:10.0.0.1", "h:443", "10.0.0.1"},
		{"[2001:DB8::1]:443:10.0.0.1", "2001:db8::1:443", "10.0.0.1"},
		{"h:80:::ffff:10.0.0.1", "h:80", "10.0.0.1"},
	} {
		key, addr, err := ParseResolve(c.in)
		if err != nil || key != c.key || addr != c.addr {
			t.Errorf("%s: %q to %q, %v; want %q to %q", c.in, key, addr, err, c.key, c.addr)
		}
	}
	for _, c := range []struct{ key, to, wantKey, wantTo string }{
		{"my.server.com:1234", "192.168.0.78:1234", "my.server.com:1234", "192.168.0.78:1234"},
		{"simple.baihl.io:80", "192.168.170.137", "simple.baihl.io:80", "192.168.170.137"},
		{"[::1]:80", "[::2]:81", "::1:80", "[::2]:81"},
	} {
		key, to, err := ParseResolvePair(c.key, c.to)
		if err != nil || key != c.wantKey || to != c.wantTo {
			t.Errorf("%s: %q to %q, %v", c.key, key, to, err)
		}
	}
}

func TestWhatIsNoResolveIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "no port"},
		{"h", "no port"},
		{"h:80", "no address"},
		{"h:80:", `"" is not an address`},
		{":80:10.0.0.1", "no host"},
		{"h:0:10.0.0.1", "not in 1-65535"},
		{"h:70000:10.0.0.1", "not in 1-65535"},
		{"h:http:10.0.0.1", "not in 1-65535"},
		{"h:80:name", "not an address"},
		{"h:80:10.0.0.1:0", "not an address"},
		{"h:80:10.0.0.1:x", "not an address"},
		{"h:80:[10.0.0.1]", "not an address"},
		{"h:80:fe80::1%eth0", "not an address"},
		{"h:80:10.0.0.1,10.0.0.2", "several addresses"},
		{"-h:80", "nothing to take back"},
		{"[::1:80:10.0.0.1", "bracket is not closed"},
		{"a b:80:10.0.0.1", "not a name or an address"},
		{strings.Repeat("a", 300) + ":80", "no address"},
	} {
		key, addr, err := ParseResolve(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 400 {
			t.Errorf("%q: %q to %q, %v, want %q", c.in, key, addr, err, c.want)
		}
	}
}

func FuzzParseResolve(f *testing.F) {
	for _, s := range []string{"h:80:10.0.0.1", "h:80:[::1]:81", "*:1:::1", "[::1]:1:1.1.1.1:2", "+a:1:1.1.1.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, addr, err := ParseResolve(s)
		if err != nil {
			return
		}
		i := strings.LastIndexByte(key, ':')
		if n, err := strconv.Atoi(key[i+1:]); err != nil || n < 1 || n > 65535 {
			t.Fatalf("%q: key %q", s, key)
		}
		if _, err := parseAddrMaybePort(addr); err != nil {
			t.Fatalf("%q: address %q: %v", s, addr, err)
		}
		again, to, err := ParseResolvePair(key, addr)
		if err != nil || again != key || to != addr {
			t.Fatalf("%q is %q to %q, which is %q to %q, %v", s, key, addr, again, to, err)
		}
	})
}

func TestCommandsAreOneShellWordForEachName(t *testing.T) {
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Area: AreaCluster, File: "pods", Select: Selector{Fields: "status.podIP=10.0.0.1"}}, "kubectl get pods -A --field-selector status.podIP=10.0.0.1 -o json"},
		{Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: "n", Name: "p"}}, "kubectl get pods -n n p -o json"},
		{Query{Area: AreaCluster, File: "nodes", Select: Selector{Name: "n1"}}, "kubectl get nodes n1 -o json"},
		{Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: "n", Labels: "a in (b, c)"}}, "kubectl get pods -n n -l 'a in (b, c)' -o json"},
		{Query{Area: AreaProxy, Namespace: "n", Name: "p", File: "clusters.json"}, "kubectl -n n exec p -c istio-proxy -- pilot-agent request GET 'clusters?format=json'"},
		{Query{Area: AreaProxy, Namespace: "n", Name: "p", File: "access.log"}, "kubectl -n n logs p -c istio-proxy"},
		{Query{Area: AreaProxy, Namespace: "n", Name: "p; rm -rf ~", File: "access.log"}, "kubectl -n n logs 'p; rm -rf ~' -c istio-proxy"},
		{Query{Area: AreaNode, Name: "it's", File: "conntrack.txt"}, `conntrack -L   # on node 'it'\''s'`},
		{Query{Area: AreaNode, Name: "n", File: "unheard-of.txt"}, ""},
		{Query{Area: AreaDNS, Name: "a.b", File: "AAAA", From: "external"}, "dig +noall +answer a.b AAAA"},
		{Query{Area: AreaDNS, Name: "a.b", From: "node:n1"}, "dig +noall +answer a.b A a.b AAAA   # on node n1"},
		{Query{Area: AreaDNS, Name: "a.b", From: "pod:ns/p"}, "kubectl -n ns exec p -- nslookup a.b"},
		{Query{Area: AreaPod, Namespace: "n", Name: "p", File: "iptables-save.txt"}, `nsenter --net=$(crictl inspectp $(crictl pods -q --namespace n --name p) | jq -r '.info.runtimeSpec.linux.namespaces[]|select(.type=="network").path') iptables-save -c   # on the Pod's node`},
		{Query{Area: AreaCluster, File: "secrets"}, `kubectl get secrets -A -o json | jq 'del(.items[].metadata.annotations) | (.items[].data | select(.)) |= map_values("REDACTED")'`},
	} {
		if got := c.q.Command(); got != c.want {
			t.Errorf("%s: %s\nwant %s", c.q.Path(), got, c.want)
		}
	}
	if got := (Query{Area: AreaCluster, File: "pods", Select: Selector{Name: "x"}}).FileCommand(); got != "kubectl get pods -A -o json" {
		t.Error(got)
	}
}

func TestBrokenJSONIsPlaced(t *testing.T) {
	var v struct {
		A []int `json:"a"`
	}
	for _, c := range []struct{ in, want string }{
		{"{\n \"a\": ?\n}", "f.json:2:7: broken JSON: invalid character '?' looking for beginning of value"},
		{"{\"a\": [1,\n", "f.json:2:1: broken JSON: cut off in the middle"},
		{"{\n\"a\":\n\"x\"}", "f.json:3:4: a is a JSON string, not what belongs there"},
	} {
		err := JSONError("f.json", []byte(c.in), unmarshal(c.in, &v))
		if err.Error() != c.want {
			t.Errorf("%q: %v, want %s", c.in, err, c.want)
		}
	}
	for _, c := range []struct {
		off       int64
		line, col int
	}{{-1, 1, 1}, {0, 1, 1}, {1, 1, 2}, {3, 2, 1}, {99, 2, 3}} {
		if l, col := Position([]byte("ab\ncd"), c.off); l != c.line || col != c.col {
			t.Errorf("offset %d is %d:%d, want %d:%d", c.off, l, col, c.line, c.col)
		}
	}
}

func TestHostPortIsDialled(t *testing.T) {
	for _, raw := range []string{"[::1]:80", "http://h/"} {
		tg, err := ParseTarget(raw)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := net.SplitHostPort(tg.HostPort()); err != nil {
			t.Error(err)
		}
		if a, err := netip.ParseAddr(tg.Host); err == nil && tg.HostPort() != netip.AddrPortFrom(a, uint16(tg.Port)).String() {
			t.Error(tg.HostPort())
		}
	}
}

func unmarshal(s string, v any) error { return json.Unmarshal([]byte(s), v) }
