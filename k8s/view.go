package k8s

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	meshv1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Selector narrows a list as the API's own parameters do. It is a hint: the
// answer may hold more items than were selected, never fewer.
type Selector struct {
	Namespace string
	Name      string
	Labels    string // a label selector, as kubectl -l takes it
	Fields    string // a field selector
}

// Lister gives the bytes of one list. resource is plural[.group], as in
// "services" and "virtualservices.networking.istio.io". An error is passed on
// to whoever asked, wrapped.
type Lister interface {
	List(ctx context.Context, resource string, sel Selector) ([]byte, error)
}

// View answers questions about a cluster from the lists of a Lister, each read
// once. It is safe for concurrent use.
type View struct{ l Lister }

// New returns a view of what l lists.
func New(l Lister) *View { return &View{l: l} }

// DecodeError says that a list, or one object of it, is not what it should be.
// Line and Column count from 1 in the bytes the Lister gave.
type DecodeError struct {
	Resource string
	Object   string // "ns/name", empty where the list itself is broken
	Line     int
	Column   int
	Offset   int64
	Msg      string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.Resource, e.Line, e.Column, e.Msg)
}

// Ref names an object.
type Ref struct{ Kind, Namespace, Name string }

// String is "Kind ns/name", or "Kind name" where there is no namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}

// Meta is what identifies an object, and the object as it was listed.
type Meta struct {
	APIVersion  string
	Kind        string
	Namespace   string
	Name        string
	UID         string
	Labels      map[string]string
	Annotations map[string]string
	Created     time.Time
	Raw         json.RawMessage // without managedFields; a Secret's without values
}

// Ref names the object.
func (m *Meta) Ref() Ref { return Ref{m.Kind, m.Namespace, m.Name} }

// The objects. Raw is the object as it was listed.
type (
	Service struct {
		*corev1.Service
		Raw json.RawMessage
	}
	Pod struct {
		*corev1.Pod
		Raw json.RawMessage
	}
	Node struct {
		*corev1.Node
		Raw json.RawMessage
	}
	Namespace struct {
		*corev1.Namespace
		Raw json.RawMessage
	}
	EndpointSlice struct {
		*discoveryv1.EndpointSlice
		Raw json.RawMessage
	}
	NetworkPolicy struct {
		*networkingv1.NetworkPolicy
		Raw json.RawMessage
	}

	Gateway struct {
		Meta
		Spec *networking.Gateway
	}
	VirtualService struct {
		Meta
		Spec *networking.VirtualService
	}
	DestinationRule struct {
		Meta
		Spec *networking.DestinationRule
	}
	ServiceEntry struct {
		Meta
		Spec *networking.ServiceEntry
	}
	Sidecar struct {
		Meta
		Spec *networking.Sidecar
	}
	EnvoyFilter struct {
		Meta
		Spec *networking.EnvoyFilter
	}
	PeerAuthentication struct {
		Meta
		Spec *security.PeerAuthentication
	}
	RequestAuthentication struct {
		Meta
		Spec *security.RequestAuthentication
	}
	AuthorizationPolicy struct {
		Meta
		Spec *security.AuthorizationPolicy
	}
	Telemetry struct {
		Meta
		Spec *telemetry.Telemetry
	}

	APIGateway struct {
		*gatewayv1.Gateway
		Raw json.RawMessage
	}
	HTTPRoute struct {
		*gatewayv1.HTTPRoute
		Raw json.RawMessage
	}
	GRPCRoute struct {
		*gatewayv1.GRPCRoute
		Raw json.RawMessage
	}
)

// Secret is what may be known of a Secret: never a value.
type Secret struct {
	Meta
	Type string
	Keys []string // names of data and stringData, sorted
}

// OwnerKind says what an address belongs to.
type OwnerKind string

const (
	OwnerLoadBalancer OwnerKind = "loadbalancer" // an ingress IP of a Service's load balancer
	OwnerExternalIP   OwnerKind = "externalip"
	OwnerClusterIP    OwnerKind = "clusterip"
	OwnerNode         OwnerKind = "node"
	OwnerPod          OwnerKind = "pod"
)

// Owner is one object that an address belongs to.
type Owner struct {
	Kind        OwnerKind
	Service     *Service            // load balancer, external IP, cluster IP
	Port        *corev1.ServicePort // the Service's port that was asked for; nil where it has none such
	Node        *Node               // node
	NodePorts   []NodePort          // node: Services with that node port
	Pods        []*Pod              // node: Pods that take the port there (hostPort, or hostNetwork with that container port)
	HostNetwork []*Pod              // node: the other Pods in the node's network
	Pod         *Pod                // pod
	Local       bool                // node: address is InternalIP/ExternalIP of that Node's status (true) or found otherwise
}

// NodePort is a Service's port that every node takes.
type NodePort struct {
	Service *Service
	Port    corev1.ServicePort
	Health  bool // it is the Service's healthCheckNodePort; Port is empty
}

var errNotYet = errors.New("k8s: not implemented yet")

// Owners says whose address addr is, and which port of it was meant. No owner:
// the address is not of this cluster, as far as its objects tell. proto is tcp,
// udp or sctp.
func (v *View) Owners(ctx context.Context, addr netip.Addr, port uint16, proto string) ([]Owner, error) {
	return nil, errNotYet
}

// Service returns nil where there is none of that name; so do all that return one object.
func (v *View) Service(ctx context.Context, ns, name string) (*Service, error) { return nil, errNotYet }

// Services lists the Services of a namespace, of all where ns is empty, by namespace and name.
func (v *View) Services(ctx context.Context, ns string) ([]*Service, error) { return nil, errNotYet }

// ServiceByHost finds the Service of a name as the cluster's DNS or a mesh host has it: name.ns.svc.cluster.local, name.ns.svc, name.ns, or name in ns.
func (v *View) ServiceByHost(ctx context.Context, host, ns string) (*Service, error) {
	return nil, errNotYet
}
func (v *View) EndpointSlices(ctx context.Context, ns, service string) ([]*EndpointSlice, error) {
	return nil, errNotYet
}

// Endpoint is one address behind one port of a Service.
type Endpoint struct {
	Addr        netip.AddrPort
	Ready       bool
	Serving     bool
	Terminating bool
	Node        string
	Zone        string
	Pod         Ref // kind Pod, or zero
	From        Ref // the EndpointSlice (or Endpoints) that lists it
}

// Endpoints are those of the Service behind the port, from EndpointSlices, else from Endpoints; sorted by address.
func (v *View) Endpoints(ctx context.Context, svc *Service, port *corev1.ServicePort) ([]Endpoint, error) {
	return nil, errNotYet
}

func (v *View) Pod(ctx context.Context, ns, name string) (*Pod, error) { return nil, errNotYet }

// PodsByIP: several where they share the host's network. Finished Pods are left out.
func (v *View) PodsByIP(ctx context.Context, addr netip.Addr) ([]*Pod, error) { return nil, errNotYet }

// PodAt prefers, where several Pods share the address, the one that declares the port.
func (v *View) PodAt(ctx context.Context, addr netip.Addr, port uint16) (*Pod, error) {
	return nil, errNotYet
}

// PodsSelected: ns "" is all namespaces; an empty selector selects none.
func (v *View) PodsSelected(ctx context.Context, ns string, selector map[string]string) ([]*Pod, error) {
	return nil, errNotYet
}
func (v *View) Pods(ctx context.Context, ns string) ([]*Pod, error)  { return nil, errNotYet }
func (v *View) Node(ctx context.Context, name string) (*Node, error) { return nil, errNotYet }
func (v *View) Nodes(ctx context.Context) ([]*Node, error)           { return nil, errNotYet }

// NodeByAddress is the node that has the address, nil where none.
func (v *View) NodeByAddress(ctx context.Context, addr netip.Addr) (*Node, error) {
	return nil, errNotYet
}
func (v *View) Namespace(ctx context.Context, name string) (*Namespace, error) { return nil, errNotYet }
func (v *View) Secret(ctx context.Context, ns, name string) (*Secret, error)   { return nil, errNotYet }

// SecretsNamed are the Secrets of that name in any namespace.
func (v *View) SecretsNamed(ctx context.Context, name string) ([]*Secret, error) {
	return nil, errNotYet
}
func (v *View) ConfigMap(ctx context.Context, ns, name string) (map[string]string, error) {
	return nil, errNotYet
}

// Role is what a Pod is to the mesh.
type Role string

const (
	RolePlain   Role = "plain"
	RoleSidecar Role = "sidecar"
	RoleGateway Role = "gateway"
)

// Proxy is what a Pod says of the Envoy in it.
type Proxy struct {
	Role      Role
	Kind      string // istio, envoy-gateway, contour, consul, ... ; empty for plain
	Container string // the container that holds Envoy
	Native    bool   // it is an init container that goes on running
	AdminPort uint16
	UID, GID  uint32 // the proxy's, which its own rules let pass
	Capture   Capture
	Mode      string // REDIRECT, TPROXY, NONE
}

// Capture says who writes the Pod's rules.
type Capture string

const (
	CaptureNone Capture = "none"
	CaptureInit Capture = "istio-init"
	CaptureCNI  Capture = "istio-cni"
)

// Proxy says what p runs.
func (p *Pod) Proxy() Proxy { return Proxy{} }

// ContainerState is how one container of a Pod does.
type ContainerState struct {
	Name       string
	Init       bool
	Ready      bool
	State      string // running, waiting, terminated, "" where not known
	Reason     string // CrashLoopBackOff, OOMKilled, ImagePullBackOff, Completed ... of the state, else of the last one
	Message    string
	ExitCode   int32
	Restarts   int32
	LastReason string // why it ended last
}

// Containers are all containers of p, init containers first.
func (p *Pod) Containers() []ContainerState { return nil }

// Ready is the Pod's condition; why names what is amiss where it is not: condition and containers.
func (p *Pod) Ready() (ok bool, why string) { return false, "" }

// Addrs are the Pod's addresses.
func (p *Pod) Addrs() []netip.Addr { return nil }

// Port finds a container port by name or number.
func (p *Pod) PortNamed(name, proto string) (uint16, bool) { return 0, false }

// DeclaresPort says whether a container of p declares the port.
func (p *Pod) DeclaresPort(port uint16, proto string) bool { return false }

// Ref of each object.
func (s *Service) Ref() Ref { return Ref{"Service", s.Namespace, s.Name} }
func (p *Pod) Ref() Ref     { return Ref{"Pod", p.Namespace, p.Name} }

// PortFor finds the port of s by number and protocol.
func (s *Service) PortFor(port uint16, proto string) *corev1.ServicePort { return nil }

// Selects says whether the Service's selector matches the labels.
func (s *Service) Selects(ns string, labels map[string]string) bool { return false }

// Host is name.ns.svc.cluster.local.
func (s *Service) Host() string { return "" }

// MeshConfig is what the mesh's ConfigMap says, with Istio's defaults filled in.
type MeshConfig struct {
	Found             bool // false: there is no such ConfigMap, and all are defaults
	Ref               Ref
	RootNamespace     string // istio-system
	OutboundPolicy    string // ALLOW_ANY, REGISTRY_ONLY
	AccessLogFile     string // empty: off
	AccessLogFormat   string
	AccessLogEncoding string // TEXT, JSON
	TrustDomain       string // cluster.local
	AutoMTLS          bool
	Spec              *meshv1.MeshConfig
	Raw               string // the YAML
}

func (v *View) MeshConfig(ctx context.Context) (MeshConfig, error) { return MeshConfig{}, errNotYet }

func (v *View) Gateways(ctx context.Context) ([]*Gateway, error)               { return nil, errNotYet }
func (v *View) Gateway(ctx context.Context, ns, name string) (*Gateway, error) { return nil, errNotYet }

// GatewaysOf are the Istio Gateways whose selector means the Pod.
func (v *View) GatewaysOf(ctx context.Context, p *Pod) ([]*Gateway, error) { return nil, errNotYet }

// PodsOf are the Pods the Gateway's selector means.
func (v *View) PodsOfGateway(ctx context.Context, g *Gateway) ([]*Pod, error)  { return nil, errNotYet }
func (v *View) VirtualServices(ctx context.Context) ([]*VirtualService, error) { return nil, errNotYet }
func (v *View) VirtualService(ctx context.Context, ns, name string) (*VirtualService, error) {
	return nil, errNotYet
}

// VirtualServicesForHost: those with a host that matches, in order of creation. gateway filters by the Gateway they bind ("ns/name", "mesh"); empty: any.
func (v *View) VirtualServicesForHost(ctx context.Context, host, gateway string) ([]*VirtualService, error) {
	return nil, errNotYet
}
func (v *View) VirtualServicesOfGateway(ctx context.Context, g *Gateway) ([]*VirtualService, error) {
	return nil, errNotYet
}
func (v *View) DestinationRules(ctx context.Context) ([]*DestinationRule, error) {
	return nil, errNotYet
}

// DestinationRuleFor is the rule a proxy in clientNS applies to the FQDN (client's, service's, root namespace, by exportTo), nil where none.
func (v *View) DestinationRuleFor(ctx context.Context, clientNS string, host string) (*DestinationRule, error) {
	return nil, errNotYet
}

// TLSMode of the rule for a port and subset: DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL, "" where it says nothing.
func (d *DestinationRule) TLSMode(subset string, port uint32) string        { return "" }
func (d *DestinationRule) Subset(name string) *networking.Subset            { return nil }
func (v *View) ServiceEntries(ctx context.Context) ([]*ServiceEntry, error) { return nil, errNotYet }
func (v *View) ServiceEntriesForHost(ctx context.Context, host string) ([]*ServiceEntry, error) {
	return nil, errNotYet
}
func (v *View) ServiceEntriesForAddr(ctx context.Context, addr netip.Addr) ([]*ServiceEntry, error) {
	return nil, errNotYet
}
func (v *View) Sidecars(ctx context.Context) ([]*Sidecar, error) { return nil, errNotYet }

// SidecarFor is the Sidecar in force for the Pod: its own workload's, its namespace's, the root namespace's, or nil.
func (v *View) SidecarFor(ctx context.Context, p *Pod) (*Sidecar, error) { return nil, errNotYet }

// Sees says whether the egress hosts of s, which lies in its own namespace, import the host of namespace ns.
func (s *Sidecar) Sees(ns, host string) bool { return false }

// MTLS is the server side mode in force for a port of a workload, and the policies it comes from, most specific first.
type MTLS struct {
	Mode string /* PERMISSIVE, STRICT, DISABLE */
	From []Ref
}

func (v *View) MTLSFor(ctx context.Context, p *Pod, port uint16) (MTLS, error) {
	return MTLS{}, errNotYet
}
func (v *View) PeerAuthentications(ctx context.Context) ([]*PeerAuthentication, error) {
	return nil, errNotYet
}

// The policies in force for a Pod: root namespace, namespace and selector.
func (v *View) AuthorizationPoliciesFor(ctx context.Context, p *Pod) ([]*AuthorizationPolicy, error) {
	return nil, errNotYet
}
func (v *View) RequestAuthenticationsFor(ctx context.Context, p *Pod) ([]*RequestAuthentication, error) {
	return nil, errNotYet
}
func (v *View) TelemetriesFor(ctx context.Context, p *Pod) ([]*Telemetry, error) {
	return nil, errNotYet
}
func (v *View) EnvoyFiltersFor(ctx context.Context, p *Pod) ([]*EnvoyFilter, error) {
	return nil, errNotYet
}

func (v *View) APIGateways(ctx context.Context) ([]*APIGateway, error) { return nil, errNotYet }
func (v *View) HTTPRoutes(ctx context.Context) ([]*HTTPRoute, error)   { return nil, errNotYet }
func (v *View) GRPCRoutes(ctx context.Context) ([]*GRPCRoute, error)   { return nil, errNotYet }

// Any finds an object of any kind by its API kind, for showing what a person wrote.
func (v *View) Object(ctx context.Context, kind, ns, name string) (*Meta, error) {
	return nil, errNotYet
}

// ResolveHost gives the FQDN a short host of an object in ns means: a name without a dot is name.ns.svc.cluster.local.
func ResolveHost(host, ns string) string { return "" }

// HostMatches says whether a host pattern (exact, *.suffix, *) takes the host. Case is ignored.
func HostMatches(pattern, host string) bool { return false }

// HostsOverlap says whether two patterns have a host in common.
func HostsOverlap(a, b string) bool { return false }

// SplitHost splits the "ns/host" of Gateways and Sidecars; ns is "" where none is given.
func SplitHost(s string) (ns, host string) { return "", "" }

// Visible says whether an object of namespace ns with that exportTo is seen from the namespace from.
func Visible(exportTo []string, ns, from string) bool { return false }

// Nearest is the candidate most like want, "" where none is near.
func Nearest(want string, have []string) string { return "" }

// Peer is one end of a connection as a NetworkPolicy sees it: a Pod, or an address.
type Peer struct {
	Pod  *Pod
	Addr netip.Addr // may be left out where Pod is given
	Node string     // the address is that node's own
}

// PolicyState is whether NetworkPolicies let a connection pass. The zero value is undetermined.
type PolicyState int

const (
	PolicyUndetermined PolicyState = iota
	PolicyAllowed
	PolicyDenied
)

// PolicyVerdict is what the NetworkPolicies of one Pod say of a connection.
type PolicyVerdict struct {
	State    PolicyState
	Egress   bool  // decided at the source
	Policies []Ref // denied: those that select the Pod and allow nothing that fits; allowed: the one that allows, none where nothing selects it
	Reason   string
}

// PolicyAllows evaluates the egress policies of the source and the ingress policies of the destination. port is the destination Pod's own, behind any Service.
func (v *View) PolicyAllows(ctx context.Context, src, dst Peer, port uint16, proto string) ([]PolicyVerdict, error) {
	return nil, errNotYet
}
