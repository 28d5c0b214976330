package envoyadmin

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
	"google.golang.org/protobuf/types/known/structpb"
)

type envoyCase struct {
	ID     string                     `json:"id"`
	Kind   string                     `json:"kind"`
	Title  string                     `json:"title"`
	Config map[string]json.RawMessage `json:"config"`
	Reject string                     `json:"reject"`
	Checks []struct {
		Connection json.RawMessage `json:"connection"`
		State      json.RawMessage `json:"state"`
		Endpoint   json.RawMessage `json:"endpoint"`
		Expect     json.RawMessage `json:"expect"`
	} `json:"checks"`
}

func envoyCases(t *testing.T, kind string) []envoyCase {
	t.Helper()
	raw, err := os.ReadFile(corpus + "/envoy-cases/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Cases []envoyCase `json:"cases"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	out := slices.DeleteFunc(doc.Cases, func(c envoyCase) bool { return c.Kind != kind })
	if len(out) == 0 {
		t.Fatalf("no cases of kind %s", kind)
	}
	return out
}

func into(t *testing.T, raw json.RawMessage, v any) {
	t.Helper()
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
}

type connectionCase struct {
	DstIP     string   `json:"dst_ip"`
	DstPort   uint16   `json:"dst_port"`
	SNI       string   `json:"sni"`
	Transport string   `json:"transport_protocol"`
	ALPN      []string `json:"alpn"`
	SrcIP     string   `json:"src_ip"`
	SrcPort   uint16   `json:"src_port"`
	Direct    string   `json:"direct_src_ip"`
}

func TestEnvoysFilterChainChoice(t *testing.T) {
	for _, c := range envoyCases(t, "filter_chain") {
		dump := fmt.Sprintf(`{"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.ListenersConfigDump","static_listeners":[{"listener":%s}]}]}`, c.Config["listener"])
		d, err := Read(c.ID, []byte(dump))
		if err != nil {
			t.Fatal(c.ID, err)
		}
		l := d.parse(d.listeners[0])
		if l.err != nil {
			t.Fatal(c.ID, l.err)
		}
		if c.Reject != "" {
			if !strings.Contains(l.tree.reject, c.Reject) {
				t.Errorf("%s: reject %q, want %q", c.ID, l.tree.reject, c.Reject)
			}
			continue
		}
		if l.tree.reject != "" {
			t.Errorf("%s: rejected: %s", c.ID, l.tree.reject)
		}
		for i, check := range c.Checks {
			var in connectionCase
			var want struct {
				Chain   *string `json:"chain"`
				Flags   string  `json:"flags"`
				Details string  `json:"details"`
			}
			into(t, check.Connection, &in)
			into(t, check.Expect, &want)
			if in.Direct == "" {
				in.Direct = in.SrcIP
			}
			r := &run{d: d, entry: l.entry, listen: l, conn: connection{
				dst: netip.AddrPortFrom(netip.MustParseAddr(in.DstIP), in.DstPort), src: netip.AddrPortFrom(netip.MustParseAddr(in.SrcIP), in.SrcPort),
				direct: netip.MustParseAddr(in.Direct), transport: in.Transport, sni: in.SNI, alpn: in.ALPN,
			}}
			w := &way{run: r}
			r.filterChain(w)
			got, wantChain := w.out.FilterChain, ""
			if want.Chain != nil {
				wantChain = *want.Chain
			}
			if got != wantChain || want.Chain == nil && (w.out.Error != NoFilterChain || w.out.Flags != want.Flags || w.out.Details != want.Details) {
				t.Errorf("%s#%d: chain %q, %s %s %s; want %s\n%+v", c.ID, i, got, w.out.Error, w.out.Flags, w.out.Details, check.Expect, w.out.Steps)
			}
		}
	}
}

func TestEnvoysHandOffByOriginalDestination(t *testing.T) {
	type addr struct {
		IP         string `json:"ip"`
		Port       uint16 `json:"port"`
		IPv4Compat bool   `json:"ipv4_compat,omitempty"`
	}
	socket := func(a addr) map[string]any {
		return map[string]any{"socket_address": map[string]any{"address": a.IP, "port_value": a.Port, "ipv4_compat": a.IPv4Compat}}
	}
	for _, c := range envoyCases(t, "listener_select") {
		var listeners []struct {
			Name       string `json:"name"`
			Address    addr   `json:"address"`
			Additional []addr `json:"additional_addresses"`
			Original   bool   `json:"use_original_dst"`
			Bind       *bool  `json:"bind_to_port"`
		}
		into(t, c.Config["listeners"], &listeners)
		var items []any
		for _, l := range listeners {
			m := map[string]any{"name": l.Name, "address": socket(l.Address), "use_original_dst": l.Original}
			if l.Bind != nil {
				m["bind_to_port"] = *l.Bind
			}
			var more []any
			for _, a := range l.Additional {
				more = append(more, map[string]any{"address": socket(a)})
			}
			m["additional_addresses"] = more
			items = append(items, map[string]any{"name": l.Name, "active_state": map[string]any{"listener": m}})
		}
		raw, err := json.Marshal(map[string]any{"configs": []any{map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": items}}})
		if err != nil {
			t.Fatal(err)
		}
		d, err := Read(c.ID, raw)
		if err != nil {
			t.Fatal(c.ID, err)
		}
		for i, check := range c.Checks {
			var in struct {
				On       string `json:"accepted_on"`
				Original addr   `json:"original_dst"`
			}
			var want struct {
				Listener string `json:"listener"`
			}
			into(t, check.Connection, &in)
			into(t, check.Expect, &want)
			var from *listenerEntry
			for _, l := range d.listeners {
				if l.name == in.On {
					from = l
				}
			}
			got, why := d.handOff(from, netip.AddrPortFrom(netip.MustParseAddr(in.Original.IP), in.Original.Port))
			if got.name != want.Listener {
				t.Errorf("%s#%d: %s (%s), want %s", c.ID, i, got.name, why, want.Listener)
			}
		}
	}
}

func TestEnvoysListenerFilterPredicate(t *testing.T) {
	for _, c := range envoyCases(t, "listener_filter") {
		p := &listenerv3.ListenerFilterChainMatchPredicate{}
		if err := decode.JSON(c.Config["filter_disabled"], p); err != nil {
			t.Fatal(err)
		}
		for i, check := range c.Checks {
			var in struct {
				Port uint32 `json:"dst_port"`
			}
			var want struct {
				Disabled bool `json:"disabled"`
			}
			into(t, check.Connection, &in)
			into(t, check.Expect, &want)
			if got := disabled(p, in.Port); got != want.Disabled {
				t.Errorf("%s#%d: port %d: %v, want %v", c.ID, i, in.Port, got, want.Disabled)
			}
		}
	}
}

func TestEnvoysLoadOfPriorities(t *testing.T) {
	for _, c := range envoyCases(t, "priority_load") {
		var over, threshold int
		into(t, c.Config["overprovisioning_factor"], &over)
		into(t, c.Config["healthy_panic_threshold"], &threshold)
		for i, check := range c.Checks {
			var in struct {
				Priorities []struct{ Hosts, Healthy, Degraded, Excluded int }
			}
			var want struct {
				Healthy  []int  `json:"healthy_load"`
				Degraded []int  `json:"degraded_load"`
				Panic    []bool `json:"panic"`
			}
			into(t, check.State, &in)
			into(t, check.Expect, &want)
			var state []priorityState
			for _, p := range in.Priorities {
				state = append(state, priorityState{hosts: p.Hosts, healthy: p.Healthy, degraded: p.Degraded, excluded: p.Excluded, overprovisioning: over})
			}
			got := spread(state, threshold)
			if !slices.Equal(got.healthy, want.Healthy) || !slices.Equal(got.degraded, want.Degraded) || !slices.Equal(got.panic, want.Panic) {
				t.Errorf("%s#%d: %+v, want %+v", c.ID, i, got, want)
			}
		}
	}
}

func TestEnvoysTransportSocketMatch(t *testing.T) {
	for _, c := range envoyCases(t, "transport_socket") {
		cfg := &clusterv3.Cluster{}
		raw, _ := json.Marshal(c.Config)
		if err := decode.JSON(raw, cfg); err != nil {
			t.Fatal(err)
		}
		cl := &cluster{config: cfg}
		for _, m := range cfg.GetTransportSocketMatches() {
			cl.sockets = append(cl.sockets, namedSocket{m.GetName(), m.GetMatch(), socket{}})
		}
		for i, check := range c.Checks {
			var in struct {
				Endpoint map[string]map[string]any `json:"endpoint_metadata"`
				Locality map[string]map[string]any `json:"locality_metadata"`
			}
			var want struct {
				Socket string `json:"socket"`
			}
			into(t, check.Endpoint, &in)
			into(t, check.Expect, &want)
			meta := func(m map[string]map[string]any) *structpb.Struct {
				s, err := structpb.NewStruct(m["envoy.transport_socket_match"])
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			h := &upstreamHost{match: meta(in.Endpoint), localityMatch: meta(in.Locality)}
			if got, _ := cl.socketFor(h); got != want.Socket {
				t.Errorf("%s#%d: %s, want %s", c.ID, i, got, want.Socket)
			}
		}
	}
}
