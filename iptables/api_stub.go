package iptables

import "net/netip"

// Ruleset is one iptables-save or ip6tables-save text, indexed.
type Ruleset struct{ name string }

// ParseError says where a text is not what it should be.
type ParseError struct {
	File         string
	Line, Column int
	Msg          string
}

func (e *ParseError) Error() string { return e.File + ": " + e.Msg }

// Parse indexes the text of iptables-save.
func Parse(name string, data []byte) (*Ruleset, error) { return &Ruleset{name}, nil }

// Evaluate walks p through h.
func (h *Host) Evaluate(p Packet) Result {
	return Result{Outcomes: []Outcome{{Probability: 1, Dst: p.Dst, Src: p.Src, Reason: "not evaluated"}}}
}

// Sets is the content of ipset save.
type Sets struct{}

// ParseIPSet reads the text of `ipset save`.
func ParseIPSet(name string, data []byte) (*Sets, error) { return &Sets{}, nil }

// Conntrack is the content of conntrack -L.
type Conntrack struct{ Flows []Flow }

// Flow is one entry of the conntrack table.
type Flow struct {
	Proto              Proto
	State              string // ESTABLISHED, SYN_SENT ...; empty for udp
	Orig, Reply        Tuple
	Mark               uint32
	Unreplied, Assured bool
	Text               string
	Line               int
}

// Tuple is one direction of a flow.
type Tuple struct{ Src, Dst netip.AddrPort }

// ParseConntrack reads the text of `conntrack -L`.
func ParseConntrack(name string, data []byte) (*Conntrack, error) { return &Conntrack{}, nil }

// NFTables is what nft -j list ruleset tells about kube-proxy's nftables mode.
type NFTables struct{ KubeProxy bool }

// ParseNFT reads the text of `nft -j list ruleset`.
func ParseNFT(name string, data []byte) (*NFTables, error) { return &NFTables{}, nil }

// IPVS is the virtual servers of ipvsadm-save -n.
type IPVS struct{ Servers []VirtualServer }

// VirtualServer is one virtual service and its real servers.
type VirtualServer struct {
	Proto Proto
	Addr  netip.AddrPort
	Real  []netip.AddrPort
}

// ParseIPVS reads the text of `ipvsadm-save -n`.
func ParseIPVS(name string, data []byte) (*IPVS, error) { return &IPVS{}, nil }

// InterfaceAddr is one address of an interface.
type InterfaceAddr struct {
	Interface string
	Prefix    netip.Prefix // the address with its prefix length
}

// ParseIPAddr reads the text of `ip -j addr`.
func ParseIPAddr(name string, data []byte) ([]InterfaceAddr, error) { return nil, nil }

// Route is one route.
type Route struct {
	Dst       netip.Prefix
	Via       netip.Addr
	Interface string
	Metric    int
	Type      string // unicast, local, blackhole ...
}

// ParseIPRoute reads the text of `ip -j route`.
func ParseIPRoute(name string, data []byte) ([]Route, error) { return nil, nil }

// ServicePort is one port of a Service with the endpoints it should have.
type ServicePort struct {
	Namespace, Name, Port string // Port is the port's name, empty where it has none
	Proto                 Proto
	Number                uint16
	NodePort              uint16
	ClusterIPs            []netip.Addr
	ExternalIPs           []netip.Addr // and the load balancer's
	Endpoints             []netip.AddrPort
}

// Names names chains back to what they are for.
type Names struct{}

// NewNames computes the chain names kube-proxy gives to each port and endpoint.
func NewNames(ports []ServicePort) *Names { return &Names{} }

// Backend is one of the two rule stores of a kernel.
type Backend struct {
	Name      string // nft, legacy
	Family    int    // 4, 6
	KubeProxy bool   // holds KUBE- chains that send somewhere
}

// Backends lists the backends that hold rules.
func (h *Host) Backends() []Backend { return nil }

// Disagreement is one endpoint that the rules and the endpoints given disagree on (HT2006).
type Disagreement struct {
	Service  string // ns/name:port
	Endpoint netip.AddrPort
	Stale    bool // in the rules only; otherwise missing from the rules
	Rule     *Step
}

// Disagreements compares the endpoints of ports with the rules.
func (h *Host) Disagreements(ports []ServicePort) []Disagreement { return nil }

func protoNumber(s string) (uint8, bool) { return map[string]uint8{"tcp": 6, "udp": 17}[s], true }
func protoName(p uint8) string           { return map[uint8]string{6: "tcp", 17: "udp"}[p] }
