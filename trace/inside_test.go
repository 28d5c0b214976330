package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/hoptrail/hoptrail/k8s"
)

func TestSocketsAreReadAsSsAndNetstatPrintThem(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"LISTEN 0      511          0.0.0.0:80        0.0.0.0:*    users:((\"nginx\",pid=1,fd=6))", "0.0.0.0:80"},
		{"LISTEN 0      4096               *:8080            *:*", "*:8080"},
		{"LISTEN 0      4096            [::]:8080         [::]:*", "*:8080"},
		{"LISTEN 0      128        127.0.0.1:15000      0.0.0.0:*", "127.0.0.1:15000"},
		{"LISTEN 0      128          [::1]:9000            [::]:*", "[::1]:9000"},
		{"LISTEN 0      128     [::ffff:10.0.0.1]:9000     [::]:*", "10.0.0.1:9000"},
		{"LISTEN 0      128    127.0.0.53%lo:53         0.0.0.0:*", "127.0.0.53:53"},
		{"tcp   LISTEN 0      128     0.0.0.0:22        0.0.0.0:*", "0.0.0.0:22"},
		{"udp   UNCONN 0      0       0.0.0.0:53        0.0.0.0:*", "0.0.0.0:53 udp"},
		{"tcp        0      0 0.0.0.0:3306            0.0.0.0:*               LISTEN      1/mysqld", "0.0.0.0:3306"},
		{"tcp6       0      0 :::8080                 :::*                    LISTEN      1/java", "*:8080"},
		{"State  Recv-Q Send-Q Local Address:Port  Peer Address:PortProcess", ""},
		{"ESTAB  0      0      10.0.0.1:80   10.0.0.2:40000", ""},
		{"LISTEN 0      128    10.0.0.1:http     0.0.0.0:*", ""},
		{"LISTEN 0      128    10.0.0.1:0        0.0.0.0:*", ""},
		{"LISTEN", ""},
		{"LISTEN 0", ""},
		{"", ""},
	} {
		got := ""
		all, _ := parseSockets([]byte(c.line + "\n"))
		for _, s := range all {
			got = s.String()
			if s.udp {
				got += " udp"
			}
		}
		if got != c.want {
			t.Errorf("%q is %q, not %q", c.line, got, c.want)
		}
	}
}

func TestPlacesAreReadAsFromTakesThem(t *testing.T) {
	for in, want := range map[string]string{
		"": "external", "external": "external", "node:n1": "node:n1", "node:cn-hangzhou.192.168.0.77": "node:cn-hangzhou.192.168.0.77", "pod:a/b": "pod:a/b",
		"node:": "", "node": "", "pod:a": "", "pod:/b": "", "pod:a/": "", "pod:a/b/c": "", "node:a/b": "", "external:x": "", "Pod:a/b": "", "node:a b": "",
	} {
		p, err := parsePlace(in)
		if (err == nil) != (want != "") || err == nil && p.String() != want {
			t.Errorf("%q is %v, %v", in, p, err)
		}
	}
}

func TestIstioClusterNamesAreTakenApart(t *testing.T) {
	for in, want := range map[string]istioCluster{
		"outbound|80||simple.simple.svc.cluster.local": {"outbound", 80, "", "simple.simple.svc.cluster.local"},
		"outbound|9080|v1|reviews":                     {"outbound", 9080, "v1", "reviews"},
		"inbound|8080||":                               {"inbound", 8080, "", ""},
	} {
		if got, ok := parseIstioCluster(in); !ok || got != want {
			t.Errorf("%q is %+v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "PassthroughCluster", "outbound|x||h", "outbound|80|h", "outbound_.80_._.h", "outbound|80|||h", "inbound-vip|80|http|h"} {
		if got, ok := parseIstioCluster(in); ok {
			t.Errorf("%q is %+v", in, got)
		}
	}
}

func TestInboundCaptureFollowsThePodsAnnotations(t *testing.T) {
	const prefix = "traffic.sidecar.istio.io/"
	for _, c := range []struct {
		name        string
		annotations map[string]string
		mode        string
		port        uint16
		want        bool
	}{
		{"every port by default", nil, "REDIRECT", 8080, true},
		{"the sidecar's own ports never", nil, "REDIRECT", 15021, false},
		{"excluded", map[string]string{prefix + "excludeInboundPorts": "22, 8080"}, "REDIRECT", 8080, false},
		{"not excluded", map[string]string{prefix + "excludeInboundPorts": "22"}, "REDIRECT", 8080, true},
		{"included", map[string]string{prefix + "includeInboundPorts": "8080"}, "REDIRECT", 8080, true},
		{"not included", map[string]string{prefix + "includeInboundPorts": "80"}, "REDIRECT", 8080, false},
		{"all included", map[string]string{prefix + "includeInboundPorts": "*"}, "REDIRECT", 8080, true},
		{"none included", map[string]string{prefix + "includeInboundPorts": ""}, "REDIRECT", 8080, false},
		{"no interception", nil, "NONE", 8080, false},
	} {
		obj := &k8s.Pod{Pod: &corev1.Pod{}}
		obj.Pod.Annotations = c.annotations
		p := &pod{obj: obj, proxy: k8s.Proxy{Mode: c.mode}}
		if got := capturesInbound(p, c.port); got.yes != c.want || got.why == "" {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

func TestASocketOfIPv4TakesNoIPv6(t *testing.T) {
	all, _ := parseSockets([]byte("LISTEN 0 1 0.0.0.0:80 0.0.0.0:*\nLISTEN 0 1 *:81 *:*\n"))
	six := netip.MustParseAddr("fd00::1")
	if all[0].takes(six) || !all[0].takes(netip.MustParseAddr("10.0.0.1")) || !all[1].takes(six) {
		t.Errorf("%+v", all)
	}
}

// made of hops in those states, each leading to the next.
func chain(states ...State) *node {
	var first, last *node
	for _, s := range states {
		n := &node{hop: &Hop{Kind: KindPod, State: s}}
		if last == nil {
			first = n
		} else {
			last.to("", 1, n)
		}
		last = n
	}
	return first
}

func TestTheFirstObstacleOfAWayDecides(t *testing.T) {
	node1 := chain(Unknown, OK)
	node1.hop.Kind = KindNode
	node2 := chain(Unknown, Fail)
	node2.hop.Kind = KindNode
	split := func(ways ...*node) *node {
		n := chain(OK)
		for _, w := range ways {
			n.to("", 1/float64(len(ways)), w)
		}
		return n
	}
	zero := chain(OK, OK)
	zero.to("", 0, chain(Fail))
	for _, c := range []struct {
		name string
		root *node
		want Verdict
	}{
		{"all pass", chain(OK, Warn, Skipped), Reachable},
		{"fail before unknown", chain(OK, Fail, Unknown), Unreachable},
		{"unknown before fail", chain(OK, Unknown, Fail), Undetermined},
		{"a node's unknown rules, then passed", node1, Undetermined},
		{"a node's unknown rules, then refused", node2, Unreachable},
		{"two ways that disagree", split(chain(OK), chain(Fail)), Degraded},
		{"one way unknown", split(chain(OK), chain(Unknown)), Undetermined},
		{"one way unknown, one refused", split(chain(Unknown), chain(Fail)), Undetermined},
		{"disagree whatever the third", split(chain(OK), chain(Fail), chain(Unknown)), Degraded},
		{"no traffic to the failing one", zero, Reachable},
		{"nothing", nil, Undetermined},
	} {
		if got := overall(c.root); got != c.want {
			t.Errorf("%s: %s, not %s", c.name, got, c.want)
		}
		all, _ := paths(c.root, 64)
		var seen []Verdict
		for _, p := range all {
			seen = append(seen, p.verdict())
		}
		if c.want != Degraded && c.root != nil && !slices.Contains(seen, c.want) {
			t.Errorf("%s: its paths say %v", c.name, seen)
		}
	}
}

// TestAFailingWayBeyondTheListedPathsCounts: 40 layers of two ways each are 2^40
// paths; the last one of all fails.
func TestAFailingWayBeyondTheListedPathsCounts(t *testing.T) {
	end, bad := chain(OK), chain(Fail)
	last := chain(OK)
	last.to("", 0.5, end)
	last.to("", 0.5, bad)
	layer := []*node{end, last}
	for range 40 {
		a, b := chain(OK), chain(OK)
		for _, n := range []*node{a, b} {
			n.to("", 0.5, layer[0])
			n.to("", 0.5, layer[1])
		}
		layer = []*node{a, b}
	}
	if got := overall(layer[0]); got != Degraded {
		t.Errorf("%s", got)
	}
	all, rest := paths(layer[0], 10)
	sum := rest
	for _, p := range all {
		sum += p.probability
	}
	if len(all) != 10 || sum < 0.999999 || sum > 1.000001 {
		t.Errorf("%d paths, %v in all", len(all), sum)
	}
	if r := reachedBy(layer[0]); !r[bad] || !r[end] {
		t.Error("the ends are reached")
	}
	g := newGraph(layer[0])
	if n := len(g.above(bad)); n != 80 {
		t.Errorf("%d hops above the end", n)
	}
	if !g.related(layer[0], bad) || g.related(end, bad) {
		t.Error(fmt.Sprint("related: ", g.related(layer[0], bad), g.related(end, bad)))
	}
}

func TestRoundedSharesAddUpToWhatTheyDid(t *testing.T) {
	for _, c := range []struct{ in, want []float64 }{
		{nil, []float64{}},
		{[]float64{1}, []float64{1}},
		{[]float64{1.0 / 3, 1.0 / 3, 1.0 / 3}, []float64{0.333333334, 0.333333333, 0.333333333}},
		{[]float64{1.0 / 6, 2.0 / 3, 1.0 / 6}, []float64{0.166666667, 0.666666666, 0.166666667}},
		{[]float64{0.25, 0.25}, []float64{0.25, 0.25}}, // of a hop that refuses the rest
		{[]float64{0, 1}, []float64{0, 1}},
	} {
		if got := round(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%v is %v, not %v", c.in, got, c.want)
		}
	}
}

// TestTheIdentityOfAWorkloadIsOfItsProxysTrustDomain: the proxy may be an init
// container that goes on running.
func TestTheIdentityOfAWorkloadIsOfItsProxysTrustDomain(t *testing.T) {
	proxy := []corev1.Container{{Name: "istio-proxy", Env: []corev1.EnvVar{{Name: "TRUST_DOMAIN", Value: "mesh.example"}}}}
	app := []corev1.Container{{Name: "app"}}
	for _, c := range []struct {
		name string
		spec corev1.PodSpec
		want string
	}{
		{"a sidecar among the containers", corev1.PodSpec{Containers: slices.Concat(app, proxy), ServiceAccountName: "sleep"}, "spiffe://mesh.example/ns/a/sa/sleep"},
		{"a native sidecar", corev1.PodSpec{Containers: app, InitContainers: proxy}, "spiffe://mesh.example/ns/a/sa/default"},
		{"one that does not say", corev1.PodSpec{Containers: app}, "spiffe://cluster.local/ns/a/sa/default"},
	} {
		p := &pod{ref: podRef{"a", "b"}, obj: &k8s.Pod{Pod: &corev1.Pod{Spec: c.spec}}}
		if got := p.identity(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
