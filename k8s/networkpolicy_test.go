package k8s

import (
	"net/netip"
	"strings"
	"testing"
)

const policyPods = `
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: app, namespace: shop, labels: {app: app, tier: web}}
  spec:
    nodeName: node-1
    containers:
    - {name: app, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}
  status: {podIP: 10.0.0.1}
- apiVersion: v1
  kind: Pod
  metadata: {name: client, namespace: shop, labels: {app: client}}
  spec: {nodeName: node-2, containers: [{name: c}]}
  status: {podIP: 10.0.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: other, namespace: mon, labels: {app: prometheus}}
  spec: {nodeName: node-2, containers: [{name: c}]}
  status: {podIP: 10.0.0.3}
- apiVersion: v1
  kind: Pod
  metadata: {name: host, namespace: shop, labels: {app: client}}
  spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c}]}
  status: {podIP: 192.168.0.2}
- apiVersion: v1
  kind: Pod
  metadata: {name: hostapp, namespace: shop, labels: {app: app}}
  spec: {nodeName: node-2, hostNetwork: true, containers: [{name: c}]}
  status: {podIP: 192.168.0.2}
`

const policyNamespaces = `
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {kubernetes.io/metadata.name: shop}}}
- {apiVersion: v1, kind: Namespace, metadata: {name: mon, labels: {kubernetes.io/metadata.name: mon, team: ops}}}
`

func policyWorld(policies string, more ...string) files {
	f := files{pods: []byte(policyPods), "namespaces": []byte(policyNamespaces), "networkpolicies.networking.k8s.io": []byte("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicyList\nitems:\n" + policies)}
	if policies == "" {
		f["networkpolicies.networking.k8s.io"] = []byte(`{"kind":"List","items":[]}`)
	}
	for i := 0; i+1 < len(more); i += 2 {
		f[more[i]] = []byte(more[i+1])
	}
	return f
}

// policy is one NetworkPolicy of namespace shop.
func policy(name, spec string) string {
	return "- metadata: {name: " + name + ", namespace: shop}\n  spec: " + spec + "\n"
}

func TestNetworkPoliciesDecideAsTheirDefinitionSays(t *testing.T) {
	const onApp = "podSelector: {matchLabels: {app: app}}"
	for _, c := range []struct {
		name     string
		policies string
		from, to string // Pod's name, node:NAME, or an address
		port     uint16
		proto    string
		want     string // egress verdict of a Pod, then ingress verdict of a Pod
		reason   string // of the last one
	}{
		{"no policy at all", "", "client", "app", 8080, "tcp", "allowed allowed", "no NetworkPolicy for ingress selects Pod shop/app"},
		{"a policy for other Pods", policy("p", "{podSelector: {matchLabels: {app: x}}}"), "client", "app", 8080, "tcp", "allowed allowed", "no NetworkPolicy"},
		{"a policy of another namespace", strings.ReplaceAll(policy("p", "{podSelector: {}}"), "shop", "mon"), "client", "app", 8080, "tcp", "allowed allowed", "no NetworkPolicy"},
		{"selected and nothing allowed", policy("deny", "{podSelector: {}}"), "client", "app", 8080, "tcp", "allowed denied", "NetworkPolicy shop/deny selects Pod shop/app for ingress and no rule allows tcp/8080 from Pod shop/client"},
		{"an empty rule allows everyone", policy("p", "{podSelector: {}, ingress: [{}]}"), "other", "app", 1, "tcp", "allowed allowed", "ingress[0]: allows everyone"},
		{"egress alone does not isolate for ingress", policy("p", "{podSelector: {}, policyTypes: [Egress]}"), "other", "app", 1, "tcp", "allowed allowed", ""},
		{"egress rules isolate for egress without being named", policy("p", "{podSelector: {matchLabels: {app: client}}, egress: [{ports: [{port: 53, protocol: UDP}]}]}"), "client", "app", 8080, "tcp", "denied allowed", ""},
		{"ingress rules alone do not isolate for egress", policy("p", "{podSelector: {matchLabels: {app: client}}, ingress: []}"), "client", "app", 8080, "tcp", "allowed allowed", ""},
		{"egress to the outside by range", policy("p", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 8.0.0.0/8, except: [8.8.4.0/24]}}]}]}"), "client", "8.8.8.8", 443, "tcp", "allowed", "ipBlock 8.0.0.0/8"},
		{"egress to an exception of the range", policy("p", "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 8.0.0.0/8, except: [8.8.4.0/24]}}]}]}"), "client", "8.8.4.4", 443, "tcp", "denied", "no rule allows tcp/443 to 8.8.4.4"},
		{"the same namespace by podSelector", policy("p", "{"+onApp+", ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}"), "client", "app", 1, "tcp", "allowed allowed", "podSelector app=client"},
		{"podSelector alone means the policy's namespace", policy("p", "{"+onApp+", ingress: [{from: [{podSelector: {}}]}]}"), "other", "app", 1, "tcp", "allowed denied", ""},
		{"another namespace by its label", policy("p", "{"+onApp+", ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}}]}]}"), "other", "app", 1, "tcp", "allowed allowed", "namespaceSelector team=ops"},
		{"both selectors must match", policy("p", "{"+onApp+", ingress: [{from: [{namespaceSelector: {matchLabels: {team: ops}}, podSelector: {matchLabels: {app: x}}}]}]}"), "other", "app", 1, "tcp", "allowed denied", ""},
		{"two peers are either", policy("p", "{"+onApp+", ingress: [{from: [{namespaceSelector: {matchLabels: {team: x}}}, {namespaceSelector: {}, podSelector: {matchLabels: {app: prometheus}}}]}]}"), "other", "app", 1, "tcp", "allowed allowed", "namespaceSelector {} and podSelector app=prometheus"},
		{"policies add up", policy("deny", "{podSelector: {}}") + policy("p", "{"+onApp+", ingress: [{from: [{podSelector: {}}]}]}"), "client", "app", 1, "tcp", "allowed allowed", "NetworkPolicy shop/p"},
		{"the port is another", policy("p", "{"+onApp+", ingress: [{ports: [{port: 80}]}]}"), "client", "app", 8080, "tcp", "allowed denied", ""},
		{"the protocol is another", policy("p", "{"+onApp+", ingress: [{ports: [{port: 8080, protocol: UDP}]}]}"), "client", "app", 8080, "tcp", "allowed denied", ""},
		{"the protocol alone", policy("p", "{"+onApp+", ingress: [{ports: [{protocol: UDP}]}]}"), "client", "app", 8080, "udp", "allowed allowed", ""},
		{"no protocol is TCP", policy("p", "{"+onApp+", ingress: [{ports: [{port: 8080}]}]}"), "client", "app", 8080, "udp", "allowed denied", ""},
		{"a port by name", policy("p", "{"+onApp+", ingress: [{ports: [{port: http}]}]}"), "client", "app", 8080, "tcp", "allowed allowed", ""},
		{"a port by a name that is another's", policy("p", "{"+onApp+", ingress: [{ports: [{port: http}]}]}"), "client", "app", 8081, "tcp", "allowed denied", ""},
		{"a port by a name of another protocol", policy("p", "{"+onApp+", ingress: [{ports: [{port: dns}]}]}"), "client", "app", 53, "tcp", "allowed denied", ""},
		{"a range of ports", policy("p", "{"+onApp+", ingress: [{ports: [{port: 8000, endPort: 8080}]}]}"), "client", "app", 8080, "tcp", "allowed allowed", ""},
		{"behind a range of ports", policy("p", "{"+onApp+", ingress: [{ports: [{port: 8000, endPort: 8080}]}]}"), "client", "app", 8081, "tcp", "allowed denied", ""},
		{"an egress port by name, to the outside", policy("p", "{podSelector: {}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}"), "client", "8.8.8.8", 80, "tcp", "undetermined", "what port http is outside of Pods is not known"},
		{"from outside by range", policy("p", "{"+onApp+", ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}"), "203.0.113.9", "app", 80, "tcp", "allowed", "ipBlock"},
		{"from outside of the range", policy("p", "{"+onApp+", ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]}"), "203.0.114.9", "app", 80, "tcp", "denied", ""},
		{"selectors do not mean the outside", policy("p", "{"+onApp+", ingress: [{from: [{namespaceSelector: {}}]}]}"), "203.0.114.9", "app", 80, "tcp", "denied", ""},
		{"the Pod's own node", policy("deny", "{podSelector: {}}"), "node:node-1", "app", 80, "tcp", "allowed", "the node a Pod runs on always reaches it"},
		{"another node", policy("deny", "{podSelector: {}}"), "node:node-2", "app", 80, "tcp", "denied", ""},
		{"a Pod and itself", policy("deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}"), "app", "app", 80, "tcp", "allowed", "always reaches itself"},
		{"a Pod of the host's network as the target", policy("deny", "{podSelector: {}}"), "client", "hostapp", 80, "tcp", "allowed undetermined", "in its node's network"},
		{"a Pod of the host's network as the peer", policy("p", "{"+onApp+", ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}"), "host", "app", 80, "tcp", "allowed undetermined", "leaves open whether it is seen as that Pod"},
		{"an expression", policy("p", "{podSelector: {matchExpressions: [{key: tier, operator: In, values: [web]}, {key: x, operator: DoesNotExist}, {key: app, operator: Exists}, {key: app, operator: NotIn, values: [z]}]}}"), "client", "app", 80, "tcp", "allowed denied", ""},
		{"an expression that does not hold", policy("p", "{podSelector: {matchExpressions: [{key: tier, operator: NotIn, values: [web]}]}}"), "client", "app", 80, "tcp", "allowed allowed", ""},
		{"an operator nobody knows", policy("p", "{podSelector: {matchExpressions: [{key: tier, operator: Near}]}}"), "client", "app", 80, "tcp", "undetermined undetermined", `operator "Near" is not known`},
		{"a range that is none", policy("p", "{"+onApp+", ingress: [{from: [{ipBlock: {cidr: everywhere}}]}]}"), "client", "app", 80, "tcp", "allowed undetermined", `ipBlock "everywhere" is no range`},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New(policyWorld(c.policies))
			peer := func(s string) Peer {
				if node, ok := strings.CutPrefix(s, "node:"); ok {
					return Peer{Node: node, Addr: netip.MustParseAddr("10.0.1.1")}
				}
				if a, err := netip.ParseAddr(s); err == nil {
					return Peer{Addr: a}
				}
				for _, ns := range []string{"shop", "mon"} {
					if p, err := v.Pod(t.Context(), ns, s); err != nil {
						t.Fatal(err)
					} else if p != nil {
						return Peer{Pod: p}
					}
				}
				t.Fatal("no Pod " + s)
				return Peer{}
			}
			vs, err := v.PolicyAllows(t.Context(), peer(c.from), peer(c.to), c.port, c.proto)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, x := range vs {
				got = append(got, x.State.String())
				if x.State == PolicyDenied && len(x.Policies) == 0 || x.Reason == "" {
					t.Errorf("without a policy or a reason: %+v", x)
				}
			}
			if strings.Join(got, " ") != c.want || !strings.Contains(vs[len(vs)-1].Reason, c.reason) {
				t.Errorf("%v, want %s: %+v", got, c.want, vs)
			}
		})
	}
}

func TestPoliciesOfCNIPluginsAreNotEvaluated(t *testing.T) {
	const cilium, calico = "ciliumnetworkpolicies.cilium.io", "globalnetworkpolicies.crd.projectcalico.org"
	for _, c := range []struct{ name, resource, list, want string }{
		{"one that may select the Pod", cilium, `{"kind":"List","items":[{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"c","namespace":"shop"},"spec":{"endpointSelector":{"matchLabels":{"k8s:app":"app"}}}}]}`, "undetermined"},
		{"one that is plainly about others", cilium, `{"kind":"List","items":[{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"c","namespace":"shop"},"spec":{"endpointSelector":{"matchLabels":{"any:app":"x"}}}}]}`, "allowed"},
		{"one of another namespace", cilium, `{"kind":"List","items":[{"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy","metadata":{"name":"c","namespace":"mon"},"spec":{}}]}`, "allowed"},
		{"one of the whole cluster", calico, `{"kind":"List","items":[{"apiVersion":"crd.projectcalico.org/v1","kind":"GlobalNetworkPolicy","metadata":{"name":"g"},"spec":{"selector":"all()"}}]}`, "undetermined"},
		{"the kind is there and no object", calico, `{"kind":"List","items":[]}`, "allowed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := New(policyWorld("", c.resource, c.list))
			p, err := v.Pod(t.Context(), "shop", "app")
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.PolicyAllows(t.Context(), Peer{Addr: netip.MustParseAddr("1.1.1.1")}, Peer{Pod: p}, 80, "tcp")
			if err != nil || got[0].State.String() != c.want {
				t.Errorf("%+v, %v", got, err)
			}
			if c.want == "undetermined" && (len(got[0].Policies) != 1 || !strings.Contains(got[0].Reason, got[0].Policies[0].Name)) {
				t.Errorf("not named: %+v", got[0])
			}
		})
	}
	if !Optional(cilium) || !Optional("httproutes.gateway.networking.k8s.io") || Optional(pods) {
		t.Error("optional")
	}
}

func TestUnreadPoliciesAreAnErrorNotAPass(t *testing.T) {
	f := policyWorld("")
	delete(f, "networkpolicies.networking.k8s.io")
	v := New(f)
	p, err := v.Pod(t.Context(), "shop", "app")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.PolicyAllows(t.Context(), Peer{Addr: netip.MustParseAddr("1.1.1.1")}, Peer{Pod: p}, 80, "tcp"); err == nil {
		t.Errorf("%+v", got)
	}
}
