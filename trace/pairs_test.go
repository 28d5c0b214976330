package trace_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/trace"
)

// fault is one thing gone wrong in ingress-lb, traced as http://exam.com/getList.
type fault struct {
	code   string
	change change
}

var (
	sourceRanges   = fault{"HT1004", madeChange("HT1004-source-ranges")}
	tableFull      = fault{"HT2004", madeChange("HT2004-conntrack-full")}
	staleEntry     = fault{"HT2002", add("nodes/k8s-worker-1/conntrack.txt", "tcp      6 116 SYN_SENT src=192.0.2.7 dst=203.0.113.10 sport=40031 dport=80 [UNREPLIED] src=10.244.1.250 dst=10.244.1.1 sport=8080 dport=60117 mark=0 use=1\n")}
	hostFirewall   = fault{"HT2007", atEnd("nodes/*/iptables-save.txt", "mangle", "[1:60] -A PREROUTING -d 203.0.113.10/32 -p tcp -m comment --comment \"blocked by the host's owner\" -j DROP\n")}
	proxyProtocol  = fault{"HT3007", madeChange("HT3007-proxy-protocol")}
	slowRoute      = fault{"HT5006", madeChange("HT5006-timeout")}
	missingCluster = fault{"HT5001", text(lbGateway+"config_dump.json", `"cluster": "outbound|8080||my-backend-service.default.svc.cluster.local"`, `"cluster": "outbound|8080||my-backend.default.svc.cluster.local"`)}
	loopbackOnly   = fault{"HT8001", text("pods/default/*/ss.txt", "*:8080", "127.0.0.1:8080")}
	defaultDeny    = fault{"HT6003", denyDefault}
	missingPod     = fault{"HT5004", text(lbGateway+"*.json", `"10.244.1.31"`, `"10.244.1.77"`)}
)

func madeChange(name string) change {
	for _, m := range made {
		if m.name == name {
			return m.change
		}
	}
	panic("no made world " + name)
}

func annotate(key, value string) change {
	return item("services", "istio-ingressgateway", func(o map[string]any) { in(o, "metadata", "annotations")[key] = value })
}

// denyDefault adds a NetworkPolicy that lets nothing into namespace default.
func denyDefault(t testing.TB, world files) {
	world["cluster/networkpolicies.networking.k8s.io.json"] = encode(t, map[string]any{
		"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": []any{map[string]any{
			"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "default-deny", "namespace": "default"},
			"spec": map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress"}},
		}},
	})
}

func TestOfTwoFaultsBothAreFoundAndTheFirstObstacleComesFirst(t *testing.T) {
	for _, pair := range [][2]fault{
		{sourceRanges, loopbackOnly},
		{sourceRanges, missingCluster},
		{sourceRanges, proxyProtocol},
		{hostFirewall, loopbackOnly},
		{hostFirewall, missingCluster},
		{hostFirewall, defaultDeny},
		{tableFull, loopbackOnly},
		{tableFull, missingCluster},
		{staleEntry, defaultDeny},
		{proxyProtocol, missingCluster},
		{proxyProtocol, loopbackOnly},
		{slowRoute, loopbackOnly},
		{defaultDeny, loopbackOnly},
		{staleEntry, missingPod},
	} {
		t.Run(pair[0].code+" before "+pair[1].code, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, ingressLB)
			all(pair[0].change, pair[1].change)(t, world)
			r := traceFiles(t, world, outside(t, "http://exam.com/getList"))
			codes := errorCodes(r)
			if len(codes) != 2 || codes[0] != pair[0].code || codes[1] != pair[1].code {
				t.Errorf("findings are %v\n%s", codes, outline(r))
			}
			if want := "the next obstacle is " + pair[1].code; !strings.Contains(r.Summary, ": "+pair[0].code) || !strings.Contains(r.Summary, want) {
				t.Errorf("the summary does not say %q: %s", want, r.Summary)
			}
		})
	}
}

// TestOfTwoFaultsInOtherWorldsToo: TCP, TLS, within the mesh and on the way out.
func TestOfTwoFaultsInOtherWorldsToo(t *testing.T) {
	details := asked{url: "http://details:9080/details/0", from: productPod}
	secure := asked{url: "https://bookinfo.example.com/productpage"}
	mysql := asked{url: "172.16.10.11:30306"}
	deny := func(namespace string) fault {
		return fault{"HT6003", networkPolicy(namespace, map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Ingress"}})}
	}
	noEgress := fault{"HT6003", networkPolicy("default", map[string]any{"podSelector": map[string]any{}, "policyTypes": []any{"Egress"}, "egress": []any{
		map[string]any{"ports": []any{map[string]any{"port": 53, "protocol": "UDP"}}},
	}})}
	expired := fault{"HT3005", certificate(`"bookinfo.example.com"`, "2025-01-01T00:00:00Z", "2026-02-01T00:00:00Z")}
	otherName := fault{"HT3005", certificate(`"www.example.org"`, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")}
	plain := fault{"HT6001", plainDetails}
	on127 := func(glob, socket string) fault {
		return fault{"HT8001", text(glob, socket, "127.0.0.1"+socket[strings.LastIndexByte(socket, ':'):])}
	}
	for _, c := range []struct {
		world         string
		ask           asked
		first, second fault
	}{
		{bookinfo, details, deny("bookinfo"), plain},
		{bookinfo, details, plain, on127("pods/bookinfo/details-*/ss.txt", "0.0.0.0:9080")},
		{bookinfo, details, deny("bookinfo"), on127("pods/bookinfo/details-*/ss.txt", "0.0.0.0:9080")},
		{bookinfo, secure, expired, deny("bookinfo")},
		{bookinfo, secure, otherName, on127("pods/bookinfo/productpage-*/ss.txt", "0.0.0.0:9080")},
		{bookinfo, secure, fault{"HT6001", mutualGateway}, deny("bookinfo")},
		{bookinfo, product, fault{"HT4009", leftOverFault}, deny("bookinfo")},
		{mysqlWorld, mysql, fault{"HT2007", atEnd("nodes/node1/iptables-save.txt", "mangle", "[1:60] -A PREROUTING -p tcp -m tcp --dport 30306 -m comment --comment \"blocked by the host's owner\" -j DROP\n")}, on127("pods/default/mysql-*/ss.txt", "*:3306")},
		{mysqlWorld, mysql, deny("default"), on127("pods/default/mysql-*/ss.txt", "*:3306")},
		{egress, sleeping, noEgress, fault{"HT5001", text("proxies/istio-system/*/config_dump.json", `"cluster": "outbound|1234||my.server.com"`, `"cluster": "outbound|1234||my.servers.com"`)}},
		{egress, sleeping, deny("istio-system"), fault{"HT5001", text("proxies/istio-system/*/config_dump.json", `"cluster": "outbound|1234||my.server.com"`, `"cluster": "outbound|1234||my.servers.com"`)}},
	} {
		t.Run(c.ask.url+" "+c.first.code+" before "+c.second.code, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, c.world)
			all(c.first.change, c.second.change)(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			codes := errorCodes(r)
			if len(codes) != 2 || codes[0] != c.first.code || codes[1] != c.second.code {
				t.Errorf("findings are %v\n%s", codes, outline(r))
			}
			want := "the next obstacle is " + c.second.code
			if c.first.code == "HT4009" { // it answers half of the requests; the other half goes on
				want = "other ways meet " + c.second.code
			}
			if !strings.Contains(r.Summary, ": "+c.first.code) || !strings.Contains(r.Summary, want) {
				t.Errorf("the summary does not say %q: %s", want, r.Summary)
			}
		})
	}
}

const mysqlWorld = "../testdata/worlds/seed/ingress-tcp-mysql.tar.gz"

// networkPolicy adds a NetworkPolicy to a namespace.
func networkPolicy(namespace string, spec map[string]any) change {
	return func(t testing.TB, world files) {
		world["cluster/networkpolicies.networking.k8s.io.json"] = encode(t, map[string]any{
			"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": []any{map[string]any{
				"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": "guard", "namespace": namespace}, "spec": spec,
			}},
		})
	}
}

func outside(t testing.TB, url string) trace.Target {
	t.Helper()
	target, err := trace.ParseTarget(url)
	if err != nil {
		t.Fatal(err)
	}
	target.SourceIP = "192.0.2.7"
	return target
}

// errorCodes are the codes of the faults of severity error, each once.
func errorCodes(r *trace.Report) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Severity == trace.SeverityError && !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	return out
}

// TestHealthyCasesHaveNoFaultOfSeverityError: every case of a world that is
// expected to be reachable and without a code cries no wolf.
func TestHealthyCasesHaveNoFaultOfSeverityError(t *testing.T) {
	n := 0
	for _, folder := range []string{"seed", "faults"} {
		for archive, cases := range worlds(t, folder) {
			for _, c := range cases {
				if c.Expect.Verdict != string(trace.Reachable) || c.Expect.Code != "" {
					continue
				}
				n++
				r := traceWorld(t, archive, c.target(t))
				if codes := errorCodes(r); len(codes) > 0 {
					t.Errorf("%s %s: %v\n%s", archive, c.Name, codes, outline(r))
				}
				for _, f := range r.Findings {
					t.Logf("%s %s: %s %s", archive, c.Name, f.Code, f.Detail)
				}
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d healthy cases", n)
	}
}
