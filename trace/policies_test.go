package trace_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/hoptrail/hoptrail/trace"
)

// policies puts NetworkPolicies into a world: each is "namespace/name: spec", the
// spec in YAML.
func policies(all ...string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		items := []any{}
		for _, p := range all {
			ref, text, _ := strings.Cut(p, ": ")
			ns, name, _ := strings.Cut(ref, "/")
			var spec map[string]any
			if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
				t.Fatalf("%s: %v", p, err)
			}
			items = append(items, map[string]any{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": map[string]any{"name": name, "namespace": ns}, "spec": spec})
		}
		world["cluster/networkpolicies.networking.k8s.io.json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
}

// others puts objects of a kind of its own into a world.
func others(resource, apiVersion, kind, namespace, name, spec string) change {
	return func(t testing.TB, world files) {
		t.Helper()
		var s map[string]any
		if err := yaml.Unmarshal([]byte(spec), &s); err != nil {
			t.Fatal(err)
		}
		meta := map[string]any{"name": name}
		if namespace != "" {
			meta["namespace"] = namespace
		}
		world["cluster/"+resource+".json"] = encode(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": meta, "spec": s}}})
	}
}

// hostNetworked puts the backend's Pods into their nodes' network.
func hostNetworked(name string) change {
	return item("pods", name, func(o map[string]any) { in(o, "spec")["hostNetwork"] = true })
}

// TestNetworkPoliciesDecideOnTheWay: the whole walk with a policy, from outside
// through the gateway to the backend (masqueraded at the node, then sent by the
// gateway's Pod 10.244.1.9 to port 8080), and from Pods and nodes themselves.
func TestNetworkPoliciesDecideOnTheWay(t *testing.T) {
	const (
		toBackend = "default/p: {podSelector: {matchLabels: {app: my-backend}}, policyTypes: [Ingress], ingress: [%s]}"
		ofGateway = "istio-system/p: {podSelector: {matchLabels: {istio: ingressgateway}}, policyTypes: [%s], %s: [%s]}"
	)
	ingress := func(rule string) change { return policies(fmt.Sprintf(toBackend, rule)) }
	egressOf := func(rule string) change { return policies(fmt.Sprintf(ofGateway, "Egress", "egress", rule)) }
	fromPod := asked{url: "http://10.97.12.34/getList", headers: []string{"Host: exam.com"}, from: "pod:default/my-backend-6c5d7f8b9d-t9p2m"}
	fromNode := asked{url: "http://10.244.1.31:8080/", from: "node:k8s-worker-1"}
	fromOtherNode := asked{url: "http://10.244.1.31:8080/", from: "node:k8s-worker-2"}
	toOutside := asked{url: "http://192.168.0.78:1234/", from: "pod:default/my-backend-6c5d7f8b9d-t9p2m"}
	for _, c := range []struct {
		name    string
		change  change
		ask     asked
		verdict trace.Verdict
		names   string // of the policy in HT6003 or in the undetermined hop; "" for none
	}{
		{"nothing may come in", ingress(""), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"the gateway's namespace may", ingress("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: istio-system}}}]}"), getList, trace.Reachable, ""},
		{"another namespace may", ingress("{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"Pods of its own namespace may", ingress("{from: [{podSelector: {}}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"the gateway's Pods of the gateway's namespace may", ingress("{from: [{namespaceSelector: {}, podSelector: {matchLabels: {istio: ingressgateway}}}]}"), getList, trace.Reachable, ""},
		{"other Pods of the gateway's namespace may", ingress("{from: [{namespaceSelector: {}, podSelector: {matchLabels: {istio: egressgateway}}}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"the Pods' range may", ingress("{from: [{ipBlock: {cidr: 10.244.0.0/16}}]}"), getList, trace.Reachable, ""},
		{"the Pods' range may, but for the gateway's node", ingress("{from: [{ipBlock: {cidr: 10.244.0.0/16, except: [10.244.1.0/24]}}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"its port by number", ingress("{ports: [{port: 8080}]}"), getList, trace.Reachable, ""},
		{"another port by number", ingress("{ports: [{port: 80}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"a range with its port", ingress("{ports: [{port: 8000, endPort: 8100}]}"), getList, trace.Reachable, ""},
		{"a range below its port", ingress("{ports: [{port: 8000, endPort: 8079}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"a port by a name that the Pods do not have", ingress("{ports: [{port: web}]}"), getList, trace.Unreachable, "NetworkPolicy default/p"},
		{"its port by name", all(portNamed("web"), ingress("{ports: [{port: web}]}")), getList, trace.Reachable, ""},
		{"two policies add up", policies("default/deny: {podSelector: {}, policyTypes: [Ingress]}", fmt.Sprintf(toBackend, "{ports: [{port: 8080}]}")), getList, trace.Reachable, ""},
		{"of two that deny both are named", policies("default/deny: {podSelector: {}, policyTypes: [Ingress]}", fmt.Sprintf(toBackend, "{ports: [{port: 80}]}")), getList, trace.Unreachable, "NetworkPolicy default/deny, NetworkPolicy default/p"},

		{"the gateway may send to nobody", egressOf(""), getList, trace.Unreachable, "NetworkPolicy istio-system/p"},
		{"the gateway may send to the backend's namespace", egressOf("{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}}]}"), getList, trace.Reachable, ""},
		{"the gateway may send to its own namespace", egressOf("{to: [{podSelector: {}}]}"), getList, trace.Unreachable, "NetworkPolicy istio-system/p"},
		{"the gateway may send to the Service's port, not the Pods'", egressOf("{ports: [{port: 80}]}"), getList, trace.Unreachable, "NetworkPolicy istio-system/p"},
		{"both ends allow", policies(fmt.Sprintf(toBackend, "{from: [{namespaceSelector: {}}]}"), fmt.Sprintf(ofGateway, "Egress", "egress", "{to: [{namespaceSelector: {}}]}")), getList, trace.Reachable, ""},
		{"one end denies", policies(fmt.Sprintf(toBackend, "{from: [{namespaceSelector: {}}]}"), fmt.Sprintf(ofGateway, "Egress", "egress", "{ports: [{port: 53, protocol: UDP}]}")), getList, trace.Unreachable, "NetworkPolicy istio-system/p"},

		{"from a Pod by the ClusterIP: what may leave it counts behind the translation", policies("default/p: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 8080}]}]}"), fromPod, trace.Reachable, ""},
		{"from a Pod by the ClusterIP: the Service's port is not the Pods'", policies("default/p: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}], ports: [{port: 80}]}]}"), fromPod, trace.Unreachable, "NetworkPolicy default/p"},

		{"to the outside, nothing may leave", policies("default/p: {podSelector: {}, policyTypes: [Egress]}"), toOutside, trace.Unreachable, "NetworkPolicy default/p"},
		{"to the outside by its range", policies("default/p: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"), toOutside, trace.Reachable, ""},
		{"to the outside, an exception of the range", policies("default/p: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [192.168.0.0/16]}}]}]}"), toOutside, trace.Unreachable, "NetworkPolicy default/p"},
		{"to the outside, selectors mean Pods only", policies("default/p: {podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {}}]}]}"), toOutside, trace.Unreachable, "NetworkPolicy default/p"},

		{"from the Pod's own node", ingress(""), fromNode, trace.Reachable, ""},
		{"from another node", ingress(""), fromOtherNode, trace.Unreachable, "NetworkPolicy default/p"},
		{"from another node by its address", ingress("{from: [{ipBlock: {cidr: 10.244.2.0/24}}, {ipBlock: {cidr: 10.0.1.22/32}}]}"), fromOtherNode, trace.Reachable, ""},

		{"a Pod in its node's network is left open", all(hostNetworked("my-backend-6c5d7f8b9d-kk4xw"), hostNetworked("my-backend-6c5d7f8b9d-t9p2m"), ingress("")), getList, trace.Undetermined, "node's network"},

		{"a policy of Cilium that may select the Pod", others("ciliumnetworkpolicies.cilium.io", "cilium.io/v2", "CiliumNetworkPolicy", "default", "c", "{endpointSelector: {matchLabels: {app: my-backend}}}"), getList, trace.Undetermined, "CiliumNetworkPolicy default/c"},
		{"a policy of Cilium for others", others("ciliumnetworkpolicies.cilium.io", "cilium.io/v2", "CiliumNetworkPolicy", "default", "c", "{endpointSelector: {matchLabels: {app: other}}}"), getList, trace.Reachable, ""},
		{"a policy of Calico for the whole cluster", others("globalnetworkpolicies.crd.projectcalico.org", "crd.projectcalico.org/v1", "GlobalNetworkPolicy", "", "g", "{selector: all()}"), getList, trace.Undetermined, "GlobalNetworkPolicy g"},
		{"a policy of Calico of another namespace", others("networkpolicies.crd.projectcalico.org", "crd.projectcalico.org/v1", "NetworkPolicy", "shop", "n", "{selector: all()}"), getList, trace.Reachable, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			world := unpack(t, ingressLB)
			c.change(t, world)
			r := traceFiles(t, world, c.ask.target(t))
			said := ""
			for _, f := range r.Findings {
				switch {
				case f.Code == "HT6003":
					said += f.Detail + "\n"
					if !strings.Contains(f.Fix[0], "NetworkPolicy") || !strings.Contains(f.Fix[0], "ports: [{port: ") {
						t.Errorf("it says to do %q", f.Fix[0])
					}
					if !slices.ContainsFunc(evidenceOf(r, f), func(e trace.Evidence) bool { return strings.Contains(e.Source, "networkpolicies") }) {
						t.Error("it quotes no policy")
					}
				case f.Code == "HT0002":
					said += f.Detail + "\n"
				}
			}
			if r.Verdict != c.verdict || !strings.Contains(said, c.names) || (said == "") != (c.names == "") {
				t.Errorf("%s, %q\n%s", r.Verdict, said, outline(r))
			}
		})
	}
}

// portNamed gives the container port of the backend's Pods a name.
func portNamed(name string) change {
	return func(t testing.TB, world files) {
		for _, pod := range []string{"my-backend-6c5d7f8b9d-kk4xw", "my-backend-6c5d7f8b9d-t9p2m"} {
			item("pods", pod, func(o map[string]any) {
				in(o, "spec")["containers"].([]any)[0].(map[string]any)["ports"] = []any{map[string]any{"name": name, "containerPort": 8080, "protocol": "TCP"}}
			})(t, world)
		}
	}
}
