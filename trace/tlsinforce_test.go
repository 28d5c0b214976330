package trace

import (
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"
)

func TestTLSInForceIsTheNearestSettings(t *testing.T) {
	for _, c := range []struct{ name, rule, cluster, mode, place string }{
		{"a rule that does not say", `{host: h}`, "outbound|9080||h", "", ""},
		{"the rule's general settings", `{host: h, trafficPolicy: {tls: {mode: DISABLE}}}`, "outbound|9080||h", "DISABLE", "trafficPolicy.tls"},
		{"the port's settings go before the general ones", `{host: h, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}}`, "outbound|9080||h", "DISABLE", "trafficPolicy.portLevelSettings[9080].tls"},
		{"only the port's settings", `{host: h, trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}}`, "outbound|9080||h", "DISABLE", "trafficPolicy.portLevelSettings[9080].tls"},
		{"another port's settings are of no account", `{host: h, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 9081}, tls: {mode: DISABLE}}]}}`, "outbound|9080||h", "ISTIO_MUTUAL", "trafficPolicy.tls"},
		{"the port's settings replace the general ones by leaving tls out", `{host: h, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 9080}, connectionPool: {tcp: {maxConnections: 1}}}]}}`, "outbound|9080||h", "", ""},
		{"only the subset's settings", `{host: h, subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}}}]}`, "outbound|9080|v1|h", "DISABLE", "subsets[v1].trafficPolicy.tls"},
		{"another subset's settings are of no account", `{host: h, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}}}]}`, "outbound|9080|v2|h", "ISTIO_MUTUAL", "trafficPolicy.tls"},
		{"a subset that does not say has the rule's", `{host: h, trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}, subsets: [{name: v1, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}]}`, "outbound|9080|v1|h", "DISABLE", "trafficPolicy.portLevelSettings[9080].tls"},
		{"the subset's general settings go before the rule's of the port", `{host: h, trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}, subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]}`, "outbound|9080|v1|h", "ISTIO_MUTUAL", "subsets[v1].trafficPolicy.tls"},
		{"the subset's settings of the port go before all", `{host: h, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, portLevelSettings: [{port: {number: 9080}, tls: {mode: DISABLE}}]}}]}`, "outbound|9080|v1|h", "DISABLE", "subsets[v1].trafficPolicy.portLevelSettings[9080].tls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var rule networking.DestinationRule
			if err := yaml.UnmarshalStrict([]byte(c.rule), &rule); err != nil {
				t.Fatal(err)
			}
			cluster, ok := parseIstioCluster(c.cluster)
			if !ok {
				t.Fatalf("no cluster of Istio: %s", c.cluster)
			}
			tls, place := tlsInForce(&rule, cluster)
			mode := ""
			if tls != nil {
				mode = tls.GetMode().String()
			}
			if mode != c.mode || mode != "" && place != c.place {
				t.Errorf("%q at %s, want %q at %s", mode, place, c.mode, c.place)
			}
		})
	}
}
