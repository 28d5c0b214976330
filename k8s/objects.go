package k8s

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }

// String is "Kind ns/name", or "Kind name" where there is no namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// IsZero says whether r names nothing.
func (r Ref) IsZero() bool { return r == Ref{} }

// Meta is what identifies an object, and the object as it was listed.
type Meta struct {
	APIVersion  string
	Kind        string
	Namespace   string
	Name        string
	UID         string
	Labels      map[string]string
	Annotations map[string]string
	Created     time.Time       // zero where not known
	Raw         json.RawMessage // without managedFields; of a Secret only what may be known
}

// Ref names the object.
func (m *Meta) Ref() Ref { return Ref{m.Kind, m.Namespace, m.Name} }

// The objects of Kubernetes: the API's own types, and the JSON they were read
// from, without managedFields.
type (
	// Service is a core/v1 Service.
	Service struct {
		*corev1.Service
		Raw json.RawMessage
	}
	// Pod is a core/v1 Pod.
	Pod struct {
		*corev1.Pod
		Raw json.RawMessage
	}
	// Node is a core/v1 Node.
	Node struct {
		*corev1.Node
		Raw json.RawMessage
	}
	// Namespace is a core/v1 Namespace.
	Namespace struct {
		*corev1.Namespace
		Raw json.RawMessage
	}
	// EndpointSlice is a discovery.k8s.io/v1 EndpointSlice.
	EndpointSlice struct {
		*discoveryv1.EndpointSlice
		Raw json.RawMessage
	}
	// LegacyEndpoints is a core/v1 Endpoints.
	LegacyEndpoints struct {
		*corev1.Endpoints //nolint:staticcheck // old clusters have nothing else
		Raw               json.RawMessage
	}
	// NetworkPolicy is a networking.k8s.io/v1 NetworkPolicy.
	NetworkPolicy struct {
		*networkingv1.NetworkPolicy
		Raw json.RawMessage
	}
)

// The objects of Istio: metadata and the specification as a message; fields that
// this version of the API does not know are only in Raw.
type (
	// Gateway is an Istio Gateway; that of the Gateway API is [APIGateway].
	Gateway struct {
		Meta
		Spec *networking.Gateway
	}
	// VirtualService is an Istio VirtualService.
	VirtualService struct {
		Meta
		Spec *networking.VirtualService
	}
	// DestinationRule is an Istio DestinationRule.
	DestinationRule struct {
		Meta
		Spec *networking.DestinationRule
	}
	// ServiceEntry is an Istio ServiceEntry.
	ServiceEntry struct {
		Meta
		Spec *networking.ServiceEntry
	}
	// Sidecar is an Istio Sidecar.
	Sidecar struct {
		Meta
		Spec *networking.Sidecar
	}
	// EnvoyFilter is an Istio EnvoyFilter.
	EnvoyFilter struct {
		Meta
		Spec *networking.EnvoyFilter
	}
	// PeerAuthentication is an Istio PeerAuthentication.
	PeerAuthentication struct {
		Meta
		Spec *security.PeerAuthentication
	}
	// RequestAuthentication is an Istio RequestAuthentication.
	RequestAuthentication struct {
		Meta
		Spec *security.RequestAuthentication
	}
	// AuthorizationPolicy is an Istio AuthorizationPolicy.
	AuthorizationPolicy struct {
		Meta
		Spec *security.AuthorizationPolicy
	}
	// Telemetry is an Istio Telemetry.
	Telemetry struct {
		Meta
		Spec *telemetry.Telemetry
	}
)

// The objects of the Gateway API, version v1; older versions are read as far as
// their fields are the same.
type (
	// APIGateway is a Gateway API Gateway; that of Istio is [Gateway].
	APIGateway struct {
		Meta
		Spec   gatewayv1.GatewaySpec
		Status gatewayv1.GatewayStatus
	}
	// HTTPRoute is a Gateway API HTTPRoute.
	HTTPRoute struct {
		Meta
		Spec   gatewayv1.HTTPRouteSpec
		Status gatewayv1.HTTPRouteStatus
	}
	// GRPCRoute is a Gateway API GRPCRoute.
	GRPCRoute struct {
		Meta
		Spec   gatewayv1.GRPCRouteSpec
		Status gatewayv1.GRPCRouteStatus
	}
	// TLSRoute is a Gateway API TLSRoute.
	TLSRoute struct {
		Meta
		Spec L4RouteSpec
	}
	// TCPRoute is a Gateway API TCPRoute.
	TCPRoute struct {
		Meta
		Spec L4RouteSpec
	}
)

// L4RouteSpec is what TCPRoute and TLSRoute say, in every version of theirs.
type L4RouteSpec struct {
	gatewayv1.CommonRouteSpec
	Hostnames []gatewayv1.Hostname `json:"hostnames,omitempty"` // TLSRoute only
	Rules     []L4RouteRule        `json:"rules,omitempty"`
}

// L4RouteRule is one rule of a [TCPRoute] or [TLSRoute].
type L4RouteRule struct {
	BackendRefs []gatewayv1.BackendRef `json:"backendRefs,omitempty"`
}

// Secret is what may be known of a Secret: never a value.
type Secret struct {
	Meta
	Type string   // kubernetes.io/tls, Opaque ...
	Keys []string // names of data and stringData, sorted
}

// Ref names the Service.
func (s *Service) Ref() Ref { return Ref{"Service", s.Namespace, s.Name} }

// Ref names the Pod.
func (p *Pod) Ref() Ref { return Ref{"Pod", p.Namespace, p.Name} }

// Ref names the node.
func (n *Node) Ref() Ref { return Ref{"Node", "", n.Name} }

// Ref names the EndpointSlice.
func (s *EndpointSlice) Ref() Ref { return Ref{"EndpointSlice", s.Namespace, s.Name} }

// Ref names the NetworkPolicy.
func (p *NetworkPolicy) Ref() Ref { return Ref{"NetworkPolicy", p.Namespace, p.Name} }

func decodeService(it *item) (*Service, error) {
	o := &Service{new(corev1.Service), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.Service)
}

func decodePod(it *item) (*Pod, error) {
	o := &Pod{new(corev1.Pod), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.Pod)
}

func decodeNode(it *item) (*Node, error) {
	o := &Node{new(corev1.Node), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.Node)
}

func decodeNamespace(it *item) (*Namespace, error) {
	o := &Namespace{new(corev1.Namespace), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.Namespace)
}

func decodeEndpointSlice(it *item) (*EndpointSlice, error) {
	o := &EndpointSlice{new(discoveryv1.EndpointSlice), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.EndpointSlice)
}

func decodeEndpoints(it *item) (*LegacyEndpoints, error) {
	o := &LegacyEndpoints{new(corev1.Endpoints), withoutManagedFields(it.raw)} //nolint:staticcheck // old clusters
	return o, decodeJSON(it.raw, o.Endpoints)
}

func decodeNetworkPolicy(it *item) (*NetworkPolicy, error) {
	o := &NetworkPolicy{new(networkingv1.NetworkPolicy), withoutManagedFields(it.raw)}
	return o, decodeJSON(it.raw, o.NetworkPolicy)
}

func (it *item) meta() Meta {
	return Meta{
		APIVersion: it.apiVersion, Kind: it.kind, Namespace: it.ns, Name: it.name, UID: it.uid,
		Labels: it.labelMap(), Annotations: it.annotationMap(), Created: it.createdAt(),
		Raw: withoutManagedFields(it.raw),
	}
}

// decodeSecret keeps the names of the keys only; Raw is written anew, so that
// neither a value nor an annotation that holds one gets in.
func decodeSecret(it *item) (*Secret, error) {
	s := &Secret{Meta: it.meta()}
	s.Raw, s.Annotations = nil, nil
	c := &cursor{b: it.raw}
	err := c.object(0, func(key []byte) (err error) {
		switch string(key) {
		case "type":
			s.Type, err = c.text()
		case "data", "stringData":
			err = c.object(1, func(key []byte) error {
				s.Keys = append(s.Keys, unquote(key))
				return c.skip(2)
			})
		default:
			err = c.skip(1)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(s.Keys)
	s.Keys = slices.Compact(s.Keys)
	data := map[string]string{}
	for _, k := range s.Keys {
		data[k] = "REDACTED"
	}
	meta := map[string]any{"name": s.Name, "namespace": s.Namespace}
	if len(s.Labels) > 0 {
		meta["labels"] = s.Labels
	}
	if it.created != "" {
		meta["creationTimestamp"] = it.created
	}
	s.Raw, err = json.Marshal(map[string]any{"apiVersion": "v1", "kind": "Secret", "type": s.Type, "metadata": meta, "data": data})
	return s, err
}

// decodeConfigMap gives the data; other than strings there is none.
func decodeConfigMap(it *item) (*configMap, error) {
	m := &configMap{Meta: it.meta()}
	data, err := member(it.raw, "data")
	m.data = stringMap(data)
	return m, err
}

type configMap struct {
	Meta
	data map[string]string
}

// member is the JSON of one member of the object raw, nil where it has none.
func member(raw []byte, name string) ([]byte, error) {
	var out []byte
	c := &cursor{b: raw}
	err := c.object(0, func(key []byte) error {
		v, err := c.value(1)
		if string(key) == name {
			out = v
		}
		return err
	})
	return out, err
}

// decodeSpec reads the spec of an Istio object into m, by the API's own
// unmarshaler: unlike protojson it takes durations such as "3m", as istiod does.
func decodeSpec(it *item, m json.Unmarshaler) error {
	spec, err := member(it.raw, "spec")
	if err != nil || len(spec) == 0 || string(spec) == "null" {
		return err
	}
	if err := m.UnmarshalJSON(spec); err != nil {
		return fmt.Errorf("spec: %w", err)
	}
	return nil
}

func decodeGateway(it *item) (*Gateway, error) {
	o := &Gateway{it.meta(), new(networking.Gateway)}
	return o, decodeSpec(it, o.Spec)
}

func decodeVirtualService(it *item) (*VirtualService, error) {
	o := &VirtualService{it.meta(), new(networking.VirtualService)}
	return o, decodeSpec(it, o.Spec)
}

func decodeDestinationRule(it *item) (*DestinationRule, error) {
	o := &DestinationRule{it.meta(), new(networking.DestinationRule)}
	return o, decodeSpec(it, o.Spec)
}

func decodeServiceEntry(it *item) (*ServiceEntry, error) {
	o := &ServiceEntry{it.meta(), new(networking.ServiceEntry)}
	return o, decodeSpec(it, o.Spec)
}

func decodeSidecar(it *item) (*Sidecar, error) {
	o := &Sidecar{it.meta(), new(networking.Sidecar)}
	return o, decodeSpec(it, o.Spec)
}

func decodeEnvoyFilter(it *item) (*EnvoyFilter, error) {
	o := &EnvoyFilter{it.meta(), new(networking.EnvoyFilter)}
	return o, decodeSpec(it, o.Spec)
}

func decodePeerAuthentication(it *item) (*PeerAuthentication, error) {
	o := &PeerAuthentication{it.meta(), new(security.PeerAuthentication)}
	return o, decodeSpec(it, o.Spec)
}

func decodeRequestAuthentication(it *item) (*RequestAuthentication, error) {
	o := &RequestAuthentication{it.meta(), new(security.RequestAuthentication)}
	return o, decodeSpec(it, o.Spec)
}

func decodeAuthorizationPolicy(it *item) (*AuthorizationPolicy, error) {
	o := &AuthorizationPolicy{it.meta(), new(security.AuthorizationPolicy)}
	return o, decodeSpec(it, o.Spec)
}

func decodeTelemetry(it *item) (*Telemetry, error) {
	o := &Telemetry{it.meta(), new(telemetry.Telemetry)}
	return o, decodeSpec(it, o.Spec)
}

func decodeAPIGateway(it *item) (*APIGateway, error) {
	o := &APIGateway{Meta: it.meta()}
	return o, decodeParts(it, &o.Spec, &o.Status)
}

func decodeHTTPRoute(it *item) (*HTTPRoute, error) {
	o := &HTTPRoute{Meta: it.meta()}
	return o, decodeParts(it, &o.Spec, &o.Status)
}

func decodeGRPCRoute(it *item) (*GRPCRoute, error) {
	o := &GRPCRoute{Meta: it.meta()}
	return o, decodeParts(it, &o.Spec, &o.Status)
}

func decodeTLSRoute(it *item) (*TLSRoute, error) {
	o := &TLSRoute{Meta: it.meta()}
	return o, decodeParts(it, &o.Spec, nil)
}

func decodeTCPRoute(it *item) (*TCPRoute, error) {
	o := &TCPRoute{Meta: it.meta()}
	return o, decodeParts(it, &o.Spec, nil)
}

// decodeParts reads spec and status, each where it is wanted.
func decodeParts(it *item, spec, status any) error {
	for name, to := range map[string]any{"spec": spec, "status": status} {
		if to == nil {
			continue
		}
		part, err := member(it.raw, name)
		if err != nil {
			return err
		}
		if len(part) == 0 {
			continue
		}
		if err := json.Unmarshal(part, to); err != nil {
			return fmt.Errorf("%s: %w", name, plain(err))
		}
	}
	return nil
}

// objectError is a decoding error at an offset of the object.
type objectError struct {
	off int64
	msg string
}

func (e *objectError) Error() string { return e.msg }

func decodeJSON(raw []byte, to any) error {
	if err := json.Unmarshal(raw, to); err != nil {
		return &objectError{offsetIn(err), plain(err).Error()}
	}
	return nil
}

// plain says what is wrong without the names of Go's types.
func plain(err error) error {
	var typ *json.UnmarshalTypeError
	if errors.As(err, &typ) {
		return fmt.Errorf("%s is a JSON %s, not what belongs there", typ.Field, typ.Value)
	}
	return err
}

func offsetIn(err error) int64 {
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ):
		return typ.Offset
	case errors.As(err, &syntax):
		return max(0, syntax.Offset-1)
	}
	return 0
}

func offsetOf(err error) int64 {
	var oe *objectError
	if errors.As(err, &oe) {
		return oe.off
	}
	return 0
}

// withoutManagedFields is raw without metadata.managedFields, which is longer
// than the rest and says nothing to a reader. raw itself is not changed.
func withoutManagedFields(raw []byte) []byte {
	var metaStart, metaEnd int
	c := &cursor{b: raw}
	err := c.object(0, func(key []byte) error {
		c.space()
		start := c.i
		err := c.skip(1)
		if string(key) == "metadata" {
			metaStart, metaEnd = start, c.i
		}
		return err
	})
	if err != nil || metaEnd == 0 {
		return raw
	}
	// The member goes with the comma behind it, or else the one before it.
	c = &cursor{b: raw[metaStart:metaEnd]}
	from, to := -1, -1
	prevEnd := 0
	err = c.object(0, func(key []byte) error {
		keyStart := c.i
		for keyStart > 0 && c.b[keyStart-1] != '"' {
			keyStart--
		}
		keyStart -= len(key) + 2 // the quotes
		if err := c.skip(1); err != nil {
			return err
		}
		if string(key) == "managedFields" {
			from, to = keyStart, c.i
			if c.peek() == ',' {
				to = c.i + 1
			} else if prevEnd > 0 {
				from = prevEnd
			}
		}
		prevEnd = c.i
		return nil
	})
	if err != nil || from < 0 {
		return raw
	}
	return slices.Concat(raw[:metaStart+from], raw[metaStart+to:])
}
