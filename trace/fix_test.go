package trace_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/internal/snapshot"
	"github.com/hoptrail/hoptrail/trace"
)

// TestWhatToDoIsConcrete: the first thing to do about the fault of a world names
// the object, the field and the value, or is a command.
func TestWhatToDoIsConcrete(t *testing.T) {
	for world, wants := range map[string]string{
		"HT0002-unknown-match/nodeport-of-the-guarded-node": "on node baihl-master: cat /proc/net/xt_recent/portscan",
		"HT1002-port-not-exposed/lb-port-8080":              "add port 8080 to Service istio-system/istio-ingressgateway",
		"HT1003-egress-port-missing/through-egress-gateway": `kubectl -n istio-system patch svc istio-egressgateway --type=json -p '[{"op":"add","path":"/spec/ports/-","value":{"name":"tcp-2234","port":2234,"targetPort":2234}}]'`,
		"HT1003-nodeport-typed-in/nodeport":                 "in Gateway simple/simple set servers[].port.number to 80",
		"HT1004-source-ranges/outside-the-range":            `kubectl -n istio-system patch svc istio-ingressgateway --type=json -p '[{"op":"add","path":"/spec/loadBalancerSourceRanges/-","value":"192.0.2.7/32"}]'`,
		"HT1005-health-check-port/by-name":                  `{"name":"status-port","port":15021,"targetPort":15021,"nodePort":31021}`,
		"HT2002-stale-conntrack/nodeport":                   "on node baihl-master: conntrack -D -p tcp --dst-nat 10.10.1.99",
		"HT2006-stale-kube-proxy/stale-node":                "kubectl -n kube-system delete pods -l k8s-app=kube-proxy --field-selector spec.nodeName=k8s-worker-2",
		"HT3001-gateway-selector/nodeport":                  `kubectl -n simple patch gateways.networking.istio.io simple --type=merge -p '{"spec":{"selector":{"istio":"ingressgateway"}}}'`,
		"HT3002-privileged-port/by-name":                    `kubectl -n istio-system patch svc istio-ingressgateway -p '{"spec":{"ports":[{"port":80,"targetPort":8080}]}}'`,
		"HT3004-duplicate-host/https":                       "bind VirtualService default/example-virtualservice to default/legacy-gateway too",
		"HT3005-certificate-expired/https":                  "kubectl -n istio-system create secret tls exam-credential",
		"HT3005-secret-wrong-namespace/https":               "kubectl -n default get secret exam-credential -o yaml | sed 's/namespace: .*/namespace: istio-system/' | kubectl apply -f -",
		"HT3006-scheme-mismatch/plaintext-to-443":           "ask for https://exam.com/getList",
		"HT3006-scheme-mismatch/tls-to-80":                  "ask for http://exam.com/getList",
		"HT3007-proxy-protocol/by-name":                     "kubectl -n istio-system annotate svc istio-ingressgateway service.beta.kubernetes.io/aws-load-balancer-proxy-protocol-",
		"HT4001-host-unknown/nodeport":                      "add simple.baihl.io to spec.hosts of VirtualService simple/simple (Gateway simple/simple takes it already)",
		"HT4002-header-missing/without-header":              "add a match for this request to VirtualService default/example-virtualservice",
		"HT4005-redirect-loop/https":                        "drop tls.httpsRedirect from the servers of Gateway default/my-gateway",
		"HT4007-article-typo/by-name":                       `in Gateway default/my-gateway add "exam.com" to servers[].hosts`,
		"HT4008-wrong-name/by-name":                         `in VirtualService default/example-virtualservice set spec.gateways to "default/my-gateway"`,
		"HT4009-direct-response/nodeport":                   "kubectl -n simple edit virtualservices.networking.istio.io simple",
		"HT5001-host-typo/nodeport":                         "in VirtualService simple/simple set destination.host to simple.simple.svc.cluster.local",
		"HT5001-wrong-port/by-name":                         "in VirtualService default/example-virtualservice set destination.port.number to a port of the Service: 8080",
		"HT5002-selector/nodeport":                          `kubectl -n simple patch svc simple -p '{"spec":{"selector":{"app":"simple"}}}'`,
		"HT5003-all-ejected/by-name":                        "kubectl -n default logs my-backend-6c5d7f8b9d-kk4xw --since=15m",
		"HT5005-overflow/by-name":                           "in DestinationRule default/my-backend raise the limit",
		"HT5006-timeout/by-name":                            "set http[].timeout in VirtualService default/example-virtualservice",
		"HT5007-idle-keepalive/by-name":                     "idleTimeout in a DestinationRule for my-backend-service.default.svc.cluster.local",
		"HT6001-mutual-without-sidecar/nodeport":            "tls.mode: DISABLE in DestinationRule simple/simple",
		"HT6002-allow-nothing/ingress":                      `allow it in AuthorizationPolicy bookinfo/guard: add to spec.rules {from: [{source: {principals: ["cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"]}}], to: [{operation: {methods: ["GET"], paths: ["/productpage"]}}]}`,
		"HT6002-wrong-principal/ingress":                    `in AuthorizationPolicy bookinfo/guard the principal "cluster.local/ns/istio-system/sa/istio-ingressgateway" is near`,
		"HT6003-default-deny/nodeport":                      "add to spec: ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}, podSelector:",
		"HT6004-http-named-mysql/from-sleep":                `kubectl -n default patch svc mysql-service -p '{"spec":{"ports":[{"port":3306,"appProtocol":"tcp"}]}}'`,
		"HT6005-export-to/nodeport":                         "kubectl -n simple annotate svc simple --overwrite networking.istio.io/exportTo='.,istio-system'",
		"HT7001-http-block-all/http":                        "{hosts: [api.partner.example], location: MESH_EXTERNAL, resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}",
		"HT7003-export-to/direct":                           `add "default" to spec.exportTo of VirtualService istio-system/my-server-vs`,
		"HT7003-wrong-subnet/direct":                        `in VirtualService default/my-server-vs set tcp[].match[].destinationSubnets of the match for mesh to "192.168.0.78/32"`,
		"HT7005-not-originated/http":                        "add a DestinationRule for api.partner.example",
		"HT8001-app-on-localhost/nodeport":                  "let the application listen on 0.0.0.0:80",
		"HT8002-crashloop/nodeport":                         "kubectl -n simple logs simple-fb6498fdb-rmdg2 -c simple --previous",
	} {
		t.Run(world, func(t *testing.T) {
			t.Parallel()
			name, of, _ := strings.Cut(world, "/")
			archive := faultWorld(name)
			for _, c := range worlds(t, "faults")[archive] {
				if c.Name != of {
					continue
				}
				r := traceWorld(t, archive, c.target(t))
				if all := strings.Join(r.Findings[0].Fix, "\n"); !strings.Contains(all, wants) {
					t.Errorf("it says to do\n%s\nand not %q", all, wants)
				}
				return
			}
			t.Fatal("there is no such case")
		})
	}
}

// TestCommandsToRunCanBeRun: what is printed as a command is one that a shell
// takes, without holes to fill in.
func TestCommandsToRunCanBeRun(t *testing.T) {
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("there is no sh")
	}
	programs := []string{"kubectl ", "istioctl ", "dig ", "conntrack ", "iptables-save ", "sysctl ", "cat ", "ipset "}
	seen := map[string]bool{}
	for archive, cases := range worlds(t, "faults") {
		for _, c := range cases {
			for _, f := range traceWorld(t, archive, c.target(t)).Findings {
				for _, line := range f.Fix {
					command := line
					for _, p := range programs {
						if _, after, ok := strings.Cut(line, ": "+p); ok && !strings.HasPrefix(line, "kubectl") {
							command = p + after
						}
					}
					if seen[command] || !begins(command, programs) {
						continue
					}
					seen[command] = true
					where := filepath.Base(archive) + " " + f.Code
					if strings.Contains(command, "...") || strings.ContainsAny(strings.ReplaceAll(command, "->", ""), "<>") {
						t.Errorf("%s: %q has holes", where, command)
					}
					if out, err := exec.Command(shell, "-n", "-c", command).CombinedOutput(); err != nil {
						t.Errorf("%s: no shell takes %q: %s", where, command, out)
					}
				}
			}
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d commands", len(seen))
	}
}

func begins(s string, with []string) bool {
	for _, p := range with {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

// TestAMissingRightIsNamedWithItsRule: the rule of a role that would give it.
func TestAMissingRightIsNamedWithItsRule(t *testing.T) {
	for _, c := range []struct {
		name string
		file string // refused
		err  trace.NotReadError
		want string
	}{
		{"a list of a group", "networkpolicies.networking.k8s.io", trace.NotReadError{Verb: "list", Resource: "networkpolicies"}, `grant the verb list on networkpolicies: the rule {apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: ["list"]} of a ClusterRole`},
		{"a list of the core group in a namespace", "pods", trace.NotReadError{Verb: "list", Resource: "pods", Namespace: "istio-system"}, `grant the verb list on pods in namespace istio-system: the rule {apiGroups: [""], resources: ["pods"], verbs: ["list"]} of a Role`},
		{"a subresource for a proxy's file", "config_dump.json", trace.NotReadError{Verb: "create", Resource: "pods/portforward", Namespace: "istio-system"}, `grant the verb create on pods/portforward in namespace istio-system: the rule {apiGroups: [""], resources: ["pods/portforward"], verbs: ["create"]} of a Role`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := traceRefusing(t, ingressLB, c.file, c.err, getList.target(t))
			said := ""
			for _, f := range r.Findings {
				if f.Code == "HT0001" {
					said += strings.Join(f.Fix, "\n") + "\n"
				}
			}
			if !strings.Contains(said, c.want) {
				t.Errorf("it says %q\n%s", said, outline(r))
			}
		})
	}
}

// refusing is a source that may not read one file.
type refusing struct {
	trace.Source
	file string
	err  trace.NotReadError
}

func (s refusing) Observe(ctx context.Context, q trace.Query) (trace.Observation, error) {
	if q.File == s.file {
		e := s.err
		e.Query, e.Why = q, "forbidden: "+e.Verb+" "+e.Resource+" is not allowed"
		return trace.Observation{}, &e
	}
	return s.Source.Observe(ctx, q)
}

func traceRefusing(t testing.TB, archive, file string, err trace.NotReadError, target trace.Target) *trace.Report {
	t.Helper()
	src, openErr := snapshot.Open(archive)
	if openErr != nil {
		t.Fatal(openErr)
	}
	r, traceErr := (&trace.Tracer{Source: refusing{src, file, err}}).Trace(t.Context(), target)
	if traceErr != nil {
		t.Fatal(traceErr)
	}
	return r
}
