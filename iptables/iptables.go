// Package iptables evaluates packets against saved netfilter rules as the Linux
// kernel does: iptables-save in, the rules a packet meets and what becomes of it
// out.
//
// A [Host] is one network namespace, a node's or a Pod's: its rules of either
// backend and what else of its state is known. [Host.Evaluate] walks one
// [Packet] through it:
//
//	          arrives (In)                                   leaves (Out)
//	               │                                              ▲
//	raw, mangle, nat PREROUTING ─ route ─ mangle, filter FORWARD ─┤
//	               ▲                │                  mangle, nat POSTROUTING
//	               │ lo             ▼                             ▲
//	               │  mangle, filter, nat INPUT                   │
//	               │                │                             │
//	               │        a local process                       │
//	               │                │                             │
//	               └─────────── raw, mangle, nat, filter OUTPUT ─ route
//
// nat is met by the first packet of a flow only. A rule is answered by a small
// algebra: its matches give yes, no, unknown, or yes with a probability; its
// target continues, jumps, returns, changes the packet, or ends the walk.
// A probability gives two ways on, both reported. So does an unknown, but unless
// both lead to the same end the outcome is undetermined and quotes the rule.
//
// The package knows the grammar of iptables-save, the semantics of matches and
// targets, and the chain names of kube-proxy, Istio and the common CNIs. It must
// not know where the text came from, nor the Kubernetes API, nor the trace:
// packets, addresses and service ports are its own small types.
package iptables

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Proto is an IP protocol number.
type Proto uint8

// The protocols a packet can be evaluated with.
const (
	ICMP   Proto = 1
	TCP    Proto = 6
	UDP    Proto = 17
	ICMPv6 Proto = 58
	SCTP   Proto = 132
)

// Hook says where a packet enters the namespace.
type Hook string

// The hooks. The zero value is read as PREROUTING.
const (
	Prerouting Hook = "PREROUTING" // it arrived on an interface
	Output     Hook = "OUTPUT"     // a process of the namespace sends it
)

// State is the conntrack state of a packet.
type State string

// The states. The zero value is New.
const (
	New         State = "NEW"
	Established State = "ESTABLISHED"
	Related     State = "RELATED"
	Invalid     State = "INVALID"
	Untracked   State = "UNTRACKED"
)

// Packet is the packet to evaluate, as it enters the namespace. What is left at
// its zero value and matters to a rule becomes an assumption of the [Result] or
// makes the outcome undetermined.
type Packet struct {
	Hook     Hook
	In       string         // interface it arrives on; empty where not known
	Out      string         // interface it would leave by; empty: from the host's routes
	Src, Dst netip.AddrPort // source port 0: not known
	Proto    Proto          // 0 is TCP
	State    State          // empty is NEW
	Mark     uint32         // as the packet arrives with it
	CTMark   uint32         // the connection's mark
	UID, GID *uint32        // of the sending process, in OUTPUT; nil: not known, a GID alone: as UID
	ICMPType *uint8         // nil: an echo request
	ICMPCode uint8
	TCPFlags string // as --tcp-flags names them, "SYN,ACK"; empty: SYN where the state is NEW
	Length   int    // of the IP packet in bytes; 0: not known
	TTL      int    // 0: not known
}

// Host is one network namespace and what is known of it. Every field may be nil
// or empty; what is missing and matters is said in the [Result]. A Host is not
// changed by evaluating and may be used by several goroutines at once.
type Host struct {
	V4, V6             *Ruleset // of iptables-save and ip6tables-save; the backend in use
	V4Legacy, V6Legacy *Ruleset // of iptables-legacy-save, where both backends hold rules

	Sets      *Sets      // ipset save
	Conntrack *Conntrack // conntrack -L
	NFT       *NFTables  // nft -j list ruleset
	IPVS      *IPVS      // ipvsadm-save -n
	Addrs     []InterfaceAddr
	Routes    []Route
	// LocalAddresses are addresses known to be the namespace's own beside Addrs.
	// With neither, only the loopback is known to be local.
	LocalAddresses []netip.Addr
	// Recent holds the addresses of each list of the recent match
	// (/proc/net/xt_recent). A list that is absent is not known.
	Recent map[string][]netip.Addr
	// Node says that this is a node's own namespace, where the addresses of Services
	// in Names are expected to be translated: one that no rule of kube-proxy's
	// iptables mode handles is then undetermined, not accepted.
	Node bool
	// Names names chains back to Services. May be nil.
	Names *Names
}

// Verdict is what became of a packet. The zero value is undetermined.
type Verdict uint8

// The verdicts.
const (
	Undetermined Verdict = iota
	Accept
	Drop
	Reject
)

// String returns the verdict as the contract spells it.
func (v Verdict) String() string {
	switch v {
	case Accept:
		return "accept"
	case Drop:
		return "drop"
	case Reject:
		return "reject"
	default:
		return "undetermined"
	}
}

// MarshalText implements [encoding.TextMarshaler].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Mark is a packet mark, written in hexadecimal.
type Mark uint32

// MarshalText implements [encoding.TextMarshaler].
func (m Mark) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// String returns the mark as 0x4000.
func (m Mark) String() string { return "0x" + strconv.FormatUint(uint64(m), 16) }

// Result is every way a packet can go.
type Result struct {
	// Outcomes has at least one member. The most probable comes first, equals in the
	// order of the rules; the last may sum up further ones.
	Outcomes []Outcome `json:"outcomes"`
	// Assumptions says what was taken for granted about state that was not given.
	Assumptions []string `json:"assumptions,omitempty"`
}

// Verdict is the verdict all outcomes share, and Undetermined where they differ
// or any is undetermined.
func (r Result) Verdict() Verdict {
	if len(r.Outcomes) == 0 {
		return Undetermined
	}
	v := r.Outcomes[0].Verdict
	for _, o := range r.Outcomes[1:] {
		if o.Verdict != v {
			return Undetermined
		}
	}
	return v
}

// Outcome is one way of the packet. Its JSON form is the contract of
// `hoptrail iptables eval`.
type Outcome struct {
	Probability float64        `json:"probability"` // of this way; those of all outcomes add up to 1
	Verdict     Verdict        `json:"verdict"`     // what becomes of the packet
	Dst         netip.AddrPort `json:"dst"`         // as the packet leaves or is delivered
	Src         netip.AddrPort `json:"src"`         // before masquerade, whose address is not known here
	DNAT        bool           `json:"dnat"`        // its destination was translated
	Masquerade  bool           `json:"masquerade"`  // its source becomes the outgoing interface's
	Mark        Mark           `json:"mark"`        // of the packet at the end
	Reason      string         `json:"reason"`      // one sentence
	Path        []Step         `json:"path"`        // the rules that matched, in order

	SNAT       *netip.AddrPort `json:"snat,omitempty"`          // the new source, where it is known; port 0: kept or chosen by the kernel
	Redirect   uint16          `json:"redirect,omitempty"`      // the local port of a REDIRECT
	TProxy     *netip.AddrPort `json:"tproxy,omitempty"`        // the local socket the packet is handed to; Dst stays
	RejectWith string          `json:"reject_with,omitempty"`   // icmp-port-unreachable, tcp-reset ...
	CTMark     Mark            `json:"ctmark,omitempty"`        // of the connection at the end
	Untracked  bool            `json:"untracked,omitempty"`     // not tracked, so that nat is not met
	Local      bool            `json:"local,omitempty"`         // delivered to a process of this namespace
	Out        string          `json:"out_interface,omitempty"` // where it leaves
	Service    string          `json:"service,omitempty"`       // ns/name:port
	Cause      Cause           `json:"cause,omitempty"`         // why it was dropped or rejected, where the rule tells
	Owner      string          `json:"owner,omitempty"`         // who wrote the rule that decided
	Policy     *Step           `json:"policy,omitempty"`        // the chain policy that decided, rule 0
	Unknown    []Step          `json:"unknown,omitempty"`       // the rules that could not be evaluated and matter
	Otherwise  []Outcome       `json:"otherwise,omitempty"`     // of an undetermined outcome: how it ends where those rules decide otherwise than the reason takes them to
	Elsewhere  bool            `json:"elsewhere,omitempty"`     // undetermined: something other than these rules translates it
	Backend    string          `json:"backend,omitempty"`       // where both backends hold rules: whose hooks run first, as "nft first"
	More       int             `json:"more,omitempty"`          // this sums up so many further outcomes
}

// Elsewhere says whether something other than the rules translates the packet, on
// some way.
func (r Result) Elsewhere() bool {
	return slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Elsewhere })
}

// Cause names a kind of refusal that kube-proxy's own rules express.
type Cause string

// The causes.
const (
	NoEndpoints      Cause = "no_endpoints"       // HT1007
	NoLocalEndpoints Cause = "no_local_endpoints" // HT2001
	SourceRanges     Cause = "source_ranges"      // HT1004
	OtherOwner       Cause = "other_owner"        // HT2007
)

// Step is one rule that the packet met and that matched.
type Step struct {
	Hook    string `json:"hook,omitempty"`    // PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING
	Table   string `json:"table"`             // raw, mangle, nat, filter or security
	Chain   string `json:"chain"`             // its name
	Rule    int    `json:"rule"`              // from 1; 0 is the chain's policy
	Text    string `json:"text"`              // as iptables-save prints it
	Action  string `json:"action"`            // what it did: "jump KUBE-SERVICES", "DNAT to 10.0.0.1:80"
	Note    string `json:"note,omitempty"`    // the chain it leads to, or its own, in words
	Changed string `json:"changed,omitempty"` // what it changed of the packet
	Line    int    `json:"line,omitempty"`    // of the saved text, from 1
	Source  string `json:"source,omitempty"`  // the name that text was parsed under
}

// ParseProto reads a protocol name or number: tcp, udp, sctp, icmp, icmpv6, 6.
func ParseProto(s string) (Proto, error) {
	if n, ok := protoNumber(s); ok && n != 0 {
		return Proto(n), nil
	}
	return 0, fmt.Errorf("protocol %q is not known", s)
}

// String returns the protocol's usual name.
func (p Proto) String() string {
	if p == ICMPv6 {
		return "icmpv6"
	}
	return protoName(uint8(p))
}

// MarshalText implements [encoding.TextMarshaler].
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Proto) UnmarshalText(b []byte) error {
	v, err := ParseProto(strings.ToLower(string(b)))
	if err == nil {
		*p = v
	}
	return err
}

// MarshalJSON keeps an address without a port readable and an unset one empty.
func (o Outcome) MarshalJSON() ([]byte, error) {
	type plain Outcome
	path := o.Path
	if path == nil {
		path = []Step{}
	}
	var snat, tproxy string
	if o.SNAT != nil {
		snat = formatAddrPort(*o.SNAT)
	}
	if o.TProxy != nil {
		tproxy = formatAddrPort(*o.TProxy)
	}
	return json.Marshal(struct {
		plain
		Dst    string `json:"dst"`
		Src    string `json:"src"`
		Path   []Step `json:"path"`
		SNAT   string `json:"snat,omitempty"`
		TProxy string `json:"tproxy,omitempty"`
	}{plain(o), formatAddrPort(o.Dst), formatAddrPort(o.Src), path, snat, tproxy})
}

func formatAddrPort(ap netip.AddrPort) string {
	switch {
	case !ap.Addr().IsValid():
		return ""
	case ap.Port() == 0:
		return ap.Addr().String()
	default:
		return ap.String()
	}
}
