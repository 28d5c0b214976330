package k8s

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	"sigs.k8s.io/yaml"
)

const (
	istioGateways    = "gateways.networking.istio.io"
	virtualServices  = "virtualservices.networking.istio.io"
	destinationRules = "destinationrules.networking.istio.io"
	serviceEntries   = "serviceentries.networking.istio.io"
	sidecars         = "sidecars.networking.istio.io"
	envoyFilters     = "envoyfilters.networking.istio.io"
	peerAuths        = "peerauthentications.security.istio.io"
	requestAuths     = "requestauthentications.security.istio.io"
	authzPolicies    = "authorizationpolicies.security.istio.io"
	telemetries      = "telemetries.telemetry.istio.io"
)

// MeshConfig is what the mesh's ConfigMap says, Istio's defaults filled in.
type MeshConfig struct {
	Found             bool // false: no such ConfigMap was there, all are defaults
	From              Ref
	RootNamespace     string                       // default istio-system
	TrustDomain       string                       // default cluster.local
	OutboundPolicy    string                       // ALLOW_ANY (default), REGISTRY_ONLY
	AccessLogFile     string                       // empty: off, unless a Telemetry turns it on
	AccessLogFormat   string                       // empty: Istio's own
	AccessLogEncoding string                       // TEXT (default), JSON
	AutoMTLS          bool                         // default true
	InterceptionMode  string                       // defaultConfig.interceptionMode, "" where not set
	AccessLogs        map[string]AccessLogProvider // extensionProviders that write access logs to a file, by name
	DefaultAccessLogs []string                     // defaultProviders.accessLogging
	DefaultExport     Export
	Raw               string // the YAML
}

// AccessLogProvider is an extension provider that writes access logs to a file.
type AccessLogProvider struct {
	Path   string            // default /dev/stdout
	Text   string            // its format, "" where it is the mesh's
	Labels map[string]string // its JSON format
}

// Export is where objects without exportTo are seen from, as [Visible] takes it.
type Export struct{ Services, VirtualServices, DestinationRules []string }

// MeshConfig reads the mesh's configuration: ConfigMap istio of istio-system, or
// else the one of a revision (label istio.io/rev) in the first namespace that has
// one.
func (v *View) MeshConfig(ctx context.Context) (MeshConfig, error) {
	out := MeshConfig{RootNamespace: "istio-system", TrustDomain: "cluster.local", OutboundPolicy: "ALLOW_ANY", AccessLogEncoding: "TEXT", AutoMTLS: true}
	m, err := get(ctx, v, "configmaps", "istio-system", "istio", decodeConfigMap)
	if err != nil {
		return out, err
	}
	if m == nil {
		l, err := v.list(ctx, "configmaps", Selector{Labels: "istio.io/rev"})
		if err != nil {
			return out, err
		}
		for _, it := range l.items {
			if it.name == "istio" || strings.HasPrefix(it.name, "istio-") && it.labelMap()["istio.io/rev"] != "" {
				c, err := decoded(l, it, decodeConfigMap)
				if err != nil {
					return out, err
				}
				if _, ok := c.data["mesh"]; ok {
					m = c
					break
				}
			}
		}
	}
	if m == nil {
		return out, nil
	}
	out.Found, out.From, out.Raw = true, m.Ref(), m.data["mesh"]
	out.RootNamespace = m.Namespace
	var doc struct {
		RootNamespace         string `json:"rootNamespace"`
		TrustDomain           string `json:"trustDomain"`
		AccessLogFile         string `json:"accessLogFile"`
		AccessLogFormat       string `json:"accessLogFormat"`
		AccessLogEncoding     any    `json:"accessLogEncoding"`
		EnableAutoMTLS        *bool  `json:"enableAutoMtls"`
		OutboundTrafficPolicy struct {
			Mode any `json:"mode"`
		} `json:"outboundTrafficPolicy"`
		DefaultConfig struct {
			InterceptionMode any `json:"interceptionMode"`
		} `json:"defaultConfig"`
		DefaultProviders struct {
			AccessLogging []string `json:"accessLogging"`
		} `json:"defaultProviders"`
		ExtensionProviders []struct {
			Name               string `json:"name"`
			EnvoyFileAccessLog *struct {
				Path      string `json:"path"`
				LogFormat struct {
					Text   string         `json:"text"`
					Labels map[string]any `json:"labels"`
				} `json:"logFormat"`
			} `json:"envoyFileAccessLog"`
		} `json:"extensionProviders"`
		DefaultServiceExportTo         []string `json:"defaultServiceExportTo"`
		DefaultVirtualServiceExportTo  []string `json:"defaultVirtualServiceExportTo"`
		DefaultDestinationRuleExportTo []string `json:"defaultDestinationRuleExportTo"`
	}
	if err := yaml.Unmarshal([]byte(out.Raw), &doc); err != nil {
		return out, &DecodeError{Resource: "configmaps", Object: m.Namespace + "/" + m.Name, Line: 1, Column: 1, Msg: "mesh: " + plain(err).Error()}
	}
	out.RootNamespace = cmp.Or(doc.RootNamespace, out.RootNamespace)
	out.TrustDomain = cmp.Or(doc.TrustDomain, out.TrustDomain)
	out.AccessLogFile, out.AccessLogFormat = doc.AccessLogFile, doc.AccessLogFormat
	out.AccessLogEncoding = enumName(doc.AccessLogEncoding, out.AccessLogEncoding, "TEXT", "JSON")
	// The message's own order: REGISTRY_ONLY is 0 there.
	out.OutboundPolicy = enumName(doc.OutboundTrafficPolicy.Mode, out.OutboundPolicy, "REGISTRY_ONLY", "ALLOW_ANY")
	out.InterceptionMode = enumName(doc.DefaultConfig.InterceptionMode, "", "REDIRECT", "TPROXY", "NONE")
	if doc.EnableAutoMTLS != nil {
		out.AutoMTLS = *doc.EnableAutoMTLS
	}
	out.DefaultAccessLogs = doc.DefaultProviders.AccessLogging
	for _, p := range doc.ExtensionProviders {
		if f := p.EnvoyFileAccessLog; f != nil {
			if out.AccessLogs == nil {
				out.AccessLogs = map[string]AccessLogProvider{}
			}
			ap := AccessLogProvider{Path: cmp.Or(f.Path, "/dev/stdout"), Text: f.LogFormat.Text}
			for k, val := range f.LogFormat.Labels {
				if s, ok := val.(string); ok {
					if ap.Labels == nil {
						ap.Labels = map[string]string{}
					}
					ap.Labels[k] = s
				}
			}
			out.AccessLogs[p.Name] = ap
		}
	}
	out.DefaultExport = Export{doc.DefaultServiceExportTo, doc.DefaultVirtualServiceExportTo, doc.DefaultDestinationRuleExportTo}
	return out, nil
}

// enumName reads an enumeration's value that was written by name or by number.
func enumName(val any, def string, names ...string) string {
	switch x := val.(type) {
	case string:
		return cmp.Or(x, def)
	case float64:
		if i := int(x); float64(i) == x && i >= 0 && i < len(names) {
			return names[i]
		}
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	return def
}

// Gateways are all Istio Gateways.
func (v *View) Gateways(ctx context.Context) ([]*Gateway, error) {
	return all(ctx, v, istioGateways, "", decodeGateway)
}

// Gateway finds an Istio Gateway by name.
func (v *View) Gateway(ctx context.Context, ns, name string) (*Gateway, error) {
	return whole(ctx, v, istioGateways, ns, name, decodeGateway)
}

// whole finds one object in the whole list, which other questions want as well.
func whole[T any](ctx context.Context, v *View, resource, ns, name string, decode func(*item) (*T, error)) (*T, error) {
	l, err := v.list(ctx, resource, Selector{})
	if err != nil {
		return nil, err
	}
	it := l.byName[ns+"/"+name]
	if it == nil {
		return nil, nil
	}
	return decoded(l, it, decode)
}

// GatewaysOf are the Istio Gateways whose selector means the Pod, wherever they
// lie. A Gateway without a selector means every gateway.
func (v *View) GatewaysOf(ctx context.Context, p *Pod) ([]*Gateway, error) {
	gs, err := v.Gateways(ctx)
	return slices.DeleteFunc(slices.Clone(gs), func(g *Gateway) bool { return !contains(p.Labels, g.Spec.Selector) }), err
}

// PodsOfGateway are the Pods that the Gateway's selector means, in any namespace.
func (v *View) PodsOfGateway(ctx context.Context, g *Gateway) ([]*Pod, error) {
	return v.PodsSelected(ctx, "", g.Spec.Selector)
}

// Server finds the servers of g on a port.
func (g *Gateway) Server(port uint32) []*networking.Server {
	var out []*networking.Server
	for _, s := range g.Spec.Servers {
		if s.GetPort().GetNumber() == port {
			out = append(out, s)
		}
	}
	return out
}

// Admits says whether a server takes a host of an object in namespace ns: one of
// its hosts overlaps it and is not limited to other namespaces.
func (g *Gateway) Admits(s *networking.Server, ns, host string) bool {
	return slices.ContainsFunc(s.GetHosts(), func(h string) bool {
		where, pattern := SplitHost(h)
		if where != "" && where != "*" && where != ns && !(where == "." && ns == g.Namespace) {
			return false
		}
		return HostsOverlap(pattern, host)
	})
}

// VirtualServices are all VirtualServices.
func (v *View) VirtualServices(ctx context.Context) ([]*VirtualService, error) {
	return all(ctx, v, virtualServices, "", decodeVirtualService)
}

// VirtualService finds a VirtualService by name.
func (v *View) VirtualService(ctx context.Context, ns, name string) (*VirtualService, error) {
	return whole(ctx, v, virtualServices, ns, name, decodeVirtualService)
}

// Binds are the Gateways s binds, each as "ns/name", or "mesh". Without any it
// binds the mesh.
func (s *VirtualService) Binds() []string {
	if len(s.Spec.Gateways) == 0 {
		return []string{"mesh"}
	}
	out := make([]string, 0, len(s.Spec.Gateways))
	for _, g := range s.Spec.Gateways {
		switch {
		case g == "mesh" || strings.Contains(g, "/"):
			ns, name := SplitHost(g)
			if ns == "." {
				g = s.Namespace + "/" + name
			}
			out = append(out, g)
		default:
			// The old form name.ns.svc.cluster.local.
			if parts := strings.Split(g, "."); len(parts) > 2 && parts[2] == "svc" {
				out = append(out, parts[1]+"/"+parts[0])
				continue
			}
			out = append(out, s.Namespace+"/"+g)
		}
	}
	return out
}

// Hosts are the hosts of s in full; see [ResolveHost].
func (s *VirtualService) Hosts() []string {
	out := make([]string, 0, len(s.Spec.Hosts))
	for _, h := range s.Spec.Hosts {
		out = append(out, ResolveHost(h, s.Namespace))
	}
	return out
}

// VirtualServicesForHost are those with a host that takes the name, oldest first
// as Istio merges them. gateway is the Gateway they must bind, as "ns/name" or
// "mesh"; empty for any.
func (v *View) VirtualServicesForHost(ctx context.Context, host, gateway string) ([]*VirtualService, error) {
	vs, err := v.VirtualServices(ctx)
	var out []*VirtualService
	for _, s := range vs {
		if gateway != "" && !slices.Contains(s.Binds(), gateway) {
			continue
		}
		if slices.ContainsFunc(s.Hosts(), func(h string) bool { return HostMatches(h, host) }) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *VirtualService) int { return a.Created.Compare(b.Created) })
	return out, err
}

// VirtualServicesOfGateway are those that bind a Gateway, oldest first.
func (v *View) VirtualServicesOfGateway(ctx context.Context, ns, name string) ([]*VirtualService, error) {
	vs, err := v.VirtualServices(ctx)
	var out []*VirtualService
	for _, s := range vs {
		if slices.Contains(s.Binds(), ns+"/"+name) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *VirtualService) int { return a.Created.Compare(b.Created) })
	return out, err
}

// DestinationRules are all DestinationRules.
func (v *View) DestinationRules(ctx context.Context) ([]*DestinationRule, error) {
	return all(ctx, v, destinationRules, "", decodeDestinationRule)
}

// DestinationRule finds a DestinationRule by name.
func (v *View) DestinationRule(ctx context.Context, ns, name string) (*DestinationRule, error) {
	return whole(ctx, v, destinationRules, ns, name, decodeDestinationRule)
}

// Host is the host of d in full; see [ResolveHost].
func (d *DestinationRule) Host() string { return ResolveHost(d.Spec.Host, d.Namespace) }

// DestinationRulesForHost are the rules whose host takes the name, wherever they
// lie and whoever sees them, the most specific host first, then the oldest.
func (v *View) DestinationRulesForHost(ctx context.Context, host string) ([]*DestinationRule, error) {
	ds, err := v.DestinationRules(ctx)
	var out []*DestinationRule
	for _, d := range ds {
		if HostMatches(d.Host(), host) || canonical(d.Host()) == canonical(host) {
			out = append(out, d)
		}
	}
	slices.SortStableFunc(out, func(a, b *DestinationRule) int {
		return cmp.Or(moreSpecific(a.Host(), b.Host()), a.Created.Compare(b.Created))
	})
	return out, err
}

// DestinationRuleFor is the rule that a proxy in namespace clientNS applies to a
// host (in full) of a service in namespace serviceNS: the client's namespace
// first, unless it is the root namespace, then the service's, then the root's,
// each as far as exportTo lets it be seen. Rules with a workloadSelector are left
// out; [DestinationRulesForHost] lists them.
func (v *View) DestinationRuleFor(ctx context.Context, clientNS, serviceNS, host string) (*DestinationRule, error) {
	ds, err := v.DestinationRulesForHost(ctx, host)
	if err != nil || len(ds) == 0 {
		return nil, err
	}
	mesh, err := v.MeshConfig(ctx)
	if err != nil {
		return nil, err
	}
	find := func(ns string) *DestinationRule {
		for _, d := range ds {
			exports := d.Spec.ExportTo
			if len(exports) == 0 {
				exports = mesh.DefaultExport.DestinationRules
			}
			if d.Namespace == ns && d.Spec.WorkloadSelector == nil && Visible(exports, ns, clientNS) {
				return d
			}
		}
		return nil
	}
	if clientNS != mesh.RootNamespace {
		if d := find(clientNS); d != nil {
			return d, nil
		}
	}
	if d := find(serviceNS); d != nil {
		return d, nil
	}
	return find(mesh.RootNamespace), nil
}

// Subset is the subset of that name, nil where d has none such.
func (d *DestinationRule) Subset(name string) *networking.Subset {
	for _, s := range d.Spec.Subsets {
		if s.Name == name {
			return s
		}
	}
	return nil
}

// TLSMode is the client's mode that d sets for a port and a subset (empty: none):
// DISABLE, SIMPLE, MUTUAL or ISTIO_MUTUAL; "" where d does not say. A subset's
// policy outranks the rule's, a port's settings outrank the policy's, and settings
// of a port are taken whole, not merged.
func (d *DestinationRule) TLSMode(subset string, port uint32) string {
	of := func(p *networking.TrafficPolicy) (mode string, said bool) {
		tls := p.GetTls()
		for _, s := range p.GetPortLevelSettings() {
			if s.GetPort().GetNumber() == port {
				tls, said = s.Tls, true
			}
		}
		if tls == nil {
			return "", said
		}
		return tls.Mode.String(), true
	}
	if s := d.Subset(subset); subset != "" && s != nil {
		if m, said := of(s.TrafficPolicy); said {
			return m
		}
	}
	m, _ := of(d.Spec.TrafficPolicy)
	return m
}

// ServiceEntries are all ServiceEntries.
func (v *View) ServiceEntries(ctx context.Context) ([]*ServiceEntry, error) {
	return all(ctx, v, serviceEntries, "", decodeServiceEntry)
}

// ServiceEntry finds a ServiceEntry by name.
func (v *View) ServiceEntry(ctx context.Context, ns, name string) (*ServiceEntry, error) {
	return whole(ctx, v, serviceEntries, ns, name, decodeServiceEntry)
}

// ServiceEntriesForHost are those with a host that takes the name, oldest first.
func (v *View) ServiceEntriesForHost(ctx context.Context, host string) ([]*ServiceEntry, error) {
	ses, err := v.ServiceEntries(ctx)
	var out []*ServiceEntry
	for _, s := range ses {
		if slices.ContainsFunc(s.Spec.Hosts, func(h string) bool { return HostMatches(h, host) || canonical(h) == canonical(host) }) {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(a, b *ServiceEntry) int { return a.Created.Compare(b.Created) })
	return out, err
}

// ServiceEntriesForAddr are those whose addresses hold the address, the narrowest
// range first.
func (v *View) ServiceEntriesForAddr(ctx context.Context, addr netip.Addr) ([]*ServiceEntry, error) {
	ses, err := v.ServiceEntries(ctx)
	addr = addr.Unmap()
	type hit struct {
		s    *ServiceEntry
		bits int
	}
	var hits []hit
	for _, s := range ses {
		best := -1
		for _, p := range s.Prefixes() {
			if p.Contains(addr) {
				best = max(best, p.Bits())
			}
		}
		if best >= 0 {
			hits = append(hits, hit{s, best})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return b.bits - a.bits })
	out := make([]*ServiceEntry, 0, len(hits))
	for _, h := range hits {
		out = append(out, h.s)
	}
	return out, err
}

// Prefixes are the addresses of s as ranges, a single address being one of all
// its bits.
func (s *ServiceEntry) Prefixes() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range s.Spec.Addresses {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		} else if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// Sidecars are all Sidecars.
func (v *View) Sidecars(ctx context.Context) ([]*Sidecar, error) {
	return all(ctx, v, sidecars, "", decodeSidecar)
}

// SidecarFor is the Sidecar in force for a Pod: one of its namespace that selects
// it, else the namespace's, else the root namespace's; the oldest of several. nil:
// none, and the proxy sees all that is exported to its namespace. A gateway has
// none.
func (v *View) SidecarFor(ctx context.Context, p *Pod) (*Sidecar, error) {
	if p.Proxy().Role == RoleGateway {
		return nil, nil
	}
	ss, err := v.Sidecars(ctx)
	if err != nil || len(ss) == 0 {
		return nil, err
	}
	ss = oldestFirst(ss)
	for _, s := range ss {
		if sel := s.Spec.WorkloadSelector; s.Namespace == p.Namespace && len(sel.GetLabels()) > 0 && contains(p.Labels, sel.GetLabels()) {
			return s, nil
		}
	}
	mesh, err := v.MeshConfig(ctx)
	if err != nil {
		return nil, err
	}
	for _, ns := range []string{p.Namespace, mesh.RootNamespace} {
		for _, s := range ss {
			if s.Namespace == ns && len(s.Spec.WorkloadSelector.GetLabels()) == 0 {
				return s, nil
			}
		}
	}
	return nil, nil
}

type created interface{ meta() *Meta }

func (m *Meta) meta() *Meta { return m }

func oldestFirst[T created](in []T) []T {
	return slices.SortedStableFunc(slices.Values(in), func(a, b T) int {
		return a.meta().Created.Compare(b.meta().Created)
	})
}

// Sees says whether the egress hosts of s let a proxy of namespace clientNS see a
// host (in full) that lies in namespace ns. Without egress listeners all is seen.
// Only the hosts are looked at: of listeners with a port of their own, and of
// exportTo, it says nothing.
func (s *Sidecar) Sees(clientNS, ns, host string) bool {
	if len(s.Spec.Egress) == 0 {
		return true
	}
	for _, e := range s.Spec.Egress {
		for _, h := range e.Hosts {
			where, pattern := SplitHost(h)
			if where == "~" || where == "." && ns != clientNS {
				continue
			}
			if (where == "*" || where == "" || where == "." || where == ns) && HostsOverlap(pattern, host) {
				return true
			}
		}
	}
	return false
}

// MTLS is the mode that a workload's server side has for a port.
type MTLS struct {
	Mode string // PERMISSIVE, STRICT, DISABLE
	From []Ref  // the PeerAuthentications it comes from, the one that says it first; none: Istio's default
}

// PeerAuthentications are all PeerAuthentications.
func (v *View) PeerAuthentications(ctx context.Context) ([]*PeerAuthentication, error) {
	return all(ctx, v, peerAuths, "", decodePeerAuthentication)
}

// MTLSFor is the mode in force for a port of a Pod (the container's own, not the
// Service's): that of the port in the policy that selects the Pod, then that
// policy's, its namespace's, the root namespace's; PERMISSIVE where none says.
// Of several of one rank the oldest counts.
func (v *View) MTLSFor(ctx context.Context, p *Pod, port uint16) (MTLS, error) {
	pas, err := v.PeerAuthentications(ctx)
	if err != nil {
		return MTLS{}, err
	}
	mesh, err := v.MeshConfig(ctx)
	if err != nil {
		return MTLS{}, err
	}
	var workload, namespace, root *PeerAuthentication
	for _, pa := range oldestFirst(pas) {
		labels := pa.Spec.Selector.GetMatchLabels()
		switch {
		// A selector counts in its own namespace only, the root one included.
		case len(labels) > 0 && pa.Namespace == p.Namespace && contains(p.Labels, labels):
			workload = cmp.Or(workload, pa)
		case len(labels) > 0:
		case pa.Namespace == p.Namespace && pa.Namespace != mesh.RootNamespace:
			namespace = cmp.Or(namespace, pa)
		case pa.Namespace == mesh.RootNamespace:
			root = cmp.Or(root, pa)
		}
	}
	out := MTLS{Mode: "PERMISSIVE"}
	for _, pa := range []*PeerAuthentication{root, namespace, workload} {
		if pa == nil {
			continue
		}
		if m := pa.Spec.GetMtls().GetMode(); m != security.PeerAuthentication_MutualTLS_UNSET {
			out.Mode = m.String()
			out.From = append([]Ref{pa.Ref()}, out.From...)
		}
	}
	if workload != nil {
		if m := workload.Spec.PortLevelMtls[uint32(port)].GetMode(); m != security.PeerAuthentication_MutualTLS_UNSET {
			out.Mode = m.String()
			out.From = append([]Ref{workload.Ref()}, slices.DeleteFunc(out.From, func(r Ref) bool { return r == workload.Ref() })...)
		}
	}
	return out, nil
}

// selects says whether a policy in namespace ns is in force for the Pod: it lies
// in the Pod's namespace or the root one, and its selector, or the Gateway it
// names as target, means the Pod.
func selects(p *Pod, root, ns string, labels map[string]string, refs ...*istiotype.PolicyTargetReference) bool {
	if ns != p.Namespace && ns != root {
		return false
	}
	targeted := false
	for _, r := range refs {
		if r == nil {
			continue
		}
		targeted = true
		gw := cmp.Or(p.Labels["gateway.networking.k8s.io/gateway-name"], p.Labels["istio.io/gateway-name"])
		if r.Kind == "Gateway" && r.Name == gw && ns == p.Namespace {
			return true
		}
	}
	return !targeted && contains(p.Labels, labels)
}

// AuthorizationPoliciesFor are the policies in force for a Pod.
func (v *View) AuthorizationPoliciesFor(ctx context.Context, p *Pod) ([]*AuthorizationPolicy, error) {
	objs, root, err := policies(ctx, v, authzPolicies, decodeAuthorizationPolicy)
	return slices.DeleteFunc(objs, func(o *AuthorizationPolicy) bool {
		return !selects(p, root, o.Namespace, o.Spec.Selector.GetMatchLabels(), slices.Concat(o.Spec.TargetRefs, []*istiotype.PolicyTargetReference{o.Spec.TargetRef})...)
	}), err
}

// AuthorizationPolicy finds an AuthorizationPolicy by name.
func (v *View) AuthorizationPolicy(ctx context.Context, ns, name string) (*AuthorizationPolicy, error) {
	return whole(ctx, v, authzPolicies, ns, name, decodeAuthorizationPolicy)
}

// RequestAuthenticationsFor are the policies in force for a Pod.
func (v *View) RequestAuthenticationsFor(ctx context.Context, p *Pod) ([]*RequestAuthentication, error) {
	objs, root, err := policies(ctx, v, requestAuths, decodeRequestAuthentication)
	return slices.DeleteFunc(objs, func(o *RequestAuthentication) bool {
		return !selects(p, root, o.Namespace, o.Spec.Selector.GetMatchLabels(), slices.Concat(o.Spec.TargetRefs, []*istiotype.PolicyTargetReference{o.Spec.TargetRef})...)
	}), err
}

// TelemetriesFor are the Telemetries in force for a Pod.
func (v *View) TelemetriesFor(ctx context.Context, p *Pod) ([]*Telemetry, error) {
	objs, root, err := policies(ctx, v, telemetries, decodeTelemetry)
	return slices.DeleteFunc(objs, func(o *Telemetry) bool {
		return !selects(p, root, o.Namespace, o.Spec.Selector.GetMatchLabels(), slices.Concat(o.Spec.TargetRefs, []*istiotype.PolicyTargetReference{o.Spec.TargetRef})...)
	}), err
}

// EnvoyFiltersFor are the EnvoyFilters that select a Pod. Whether one changes
// anything there, its own match conditions decide.
func (v *View) EnvoyFiltersFor(ctx context.Context, p *Pod) ([]*EnvoyFilter, error) {
	objs, root, err := policies(ctx, v, envoyFilters, decodeEnvoyFilter)
	return slices.DeleteFunc(objs, func(o *EnvoyFilter) bool {
		return !selects(p, root, o.Namespace, o.Spec.WorkloadSelector.GetLabels(), o.Spec.TargetRefs...)
	}), err
}

// policies lists a resource and names the root namespace, which only matters
// where there is something.
func policies[T any](ctx context.Context, v *View, resource string, decode func(*item) (*T, error)) ([]*T, string, error) {
	objs, err := all(ctx, v, resource, "", decode)
	if err != nil || len(objs) == 0 {
		return nil, "", err
	}
	mesh, err := v.MeshConfig(ctx)
	if err != nil {
		return nil, "", err
	}
	return objs, mesh.RootNamespace, nil
}

// APIGateways are all Gateways of the Gateway API.
func (v *View) APIGateways(ctx context.Context) ([]*APIGateway, error) {
	return all(ctx, v, "gateways.gateway.networking.k8s.io", "", decodeAPIGateway)
}

// HTTPRoutes are all HTTPRoutes.
func (v *View) HTTPRoutes(ctx context.Context) ([]*HTTPRoute, error) {
	return all(ctx, v, "httproutes.gateway.networking.k8s.io", "", decodeHTTPRoute)
}

// GRPCRoutes are all GRPCRoutes.
func (v *View) GRPCRoutes(ctx context.Context) ([]*GRPCRoute, error) {
	return all(ctx, v, "grpcroutes.gateway.networking.k8s.io", "", decodeGRPCRoute)
}

// TLSRoutes are all TLSRoutes.
func (v *View) TLSRoutes(ctx context.Context) ([]*TLSRoute, error) {
	return all(ctx, v, "tlsroutes.gateway.networking.k8s.io", "", decodeTLSRoute)
}

// TCPRoutes are all TCPRoutes.
func (v *View) TCPRoutes(ctx context.Context) ([]*TCPRoute, error) {
	return all(ctx, v, "tcproutes.gateway.networking.k8s.io", "", decodeTCPRoute)
}
