package k8s

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
)

// Selector narrows a list as the API's own parameters do. It is a hint: the
// answer may hold more items than were selected, never fewer.
type Selector struct {
	Namespace string
	Name      string
	Labels    string // a label selector, as kubectl -l takes it
	Fields    string // a field selector
}

// Lister gives the bytes of one list, which nobody changes afterwards. resource
// is plural[.group], as in "services" and "virtualservices.networking.istio.io".
// An error is passed on, wrapped, to whoever asked a question that needs the
// list. Implementations are safe for concurrent use.
type Lister interface {
	List(ctx context.Context, resource string, sel Selector) ([]byte, error)
}

// View answers questions about a cluster from the lists of a [Lister]. Each list
// is read once for a selection, and not at all where the whole was read before.
// A question about one object answers nil where there is none of that name.
// Lists are sorted by namespace and name. A View is safe for concurrent use.
type View struct {
	l Lister

	mu    sync.Mutex
	lists map[string]map[Selector]*pending
	all   map[string][]*list // those read, for sharing where the bytes are the same
	near  []string           // namespaces, see Near
}

// New returns a view of what l lists.
func New(l Lister) *View {
	return &View{l: l, lists: map[string]map[Selector]*pending{}, all: map[string][]*list{}}
}

// maxNear bounds the namespaces that are asked where the cluster may not be.
const maxNear = 8

// Near adds namespaces that are asked for the Services and Pods of an address
// where those of all namespaces could not be read: who may not list them all may
// list those of his own. What is found there is an answer, since an address is of
// one cluster; that nothing is found is none. Empty names are passed over.
func (v *View) Near(namespaces ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ns := range namespaces {
		if ns != "" && len(v.near) < maxNear && !slices.Contains(v.near, ns) {
			v.near = append(v.near, ns)
		}
	}
}

// nearLists reads the list of each near namespace that can be had, in the order
// in which they were added, until found says that one was enough.
func (v *View) nearLists(ctx context.Context, name string, sel Selector, found func(*list) bool) {
	v.mu.Lock()
	near := slices.Clone(v.near)
	v.mu.Unlock()
	for _, sel.Namespace = range near {
		if l, err := v.list(ctx, name, sel); err == nil && found(l) {
			return
		}
	}
}

// unread says whether an error is of a list that could not be had, and not of
// one that is broken.
func unread(err error) bool {
	return err != nil && !errors.As(err, new(*DecodeError))
}

// DecodeError says that a list, or one object of it, is not what it should be.
// Line and Column count from 1 in the bytes the [Lister] gave; an object that
// came as YAML has the line it begins on.
type DecodeError struct {
	Resource string // as asked for
	Object   string // "ns/name"; empty where the list itself is broken
	Line     int
	Column   int
	Offset   int64
	Msg      string
}

func (e *DecodeError) Error() string {
	at := fmt.Sprintf("%s:%d:%d: ", e.Resource, e.Line, e.Column)
	if e.Object != "" {
		at += e.Object + ": "
	}
	return at + e.Msg
}

type pending struct {
	done chan struct{}
	list *list
	err  error
}

// list is one list, indexed.
type list struct {
	resource resource
	name     string
	data     []byte
	items    []*item // of the resource's kind, by namespace and name
	byName   map[string]*item

	addrOnce sync.Once
	byAddr   map[netip.Addr][]*item

	mu sync.Mutex // guards item.obj
}

// resource is what this package knows of an API resource.
type resource struct{ kind, group string }

// The resources, by plural[.group]; the name of a list that is not here selects
// by nothing but what the list itself says.
var resources = map[string]resource{
	"services":                                              {"Service", ""},
	"endpoints":                                             {"Endpoints", ""},
	"pods":                                                  {"Pod", ""},
	"nodes":                                                 {"Node", ""},
	"namespaces":                                            {"Namespace", ""},
	"secrets":                                               {"Secret", ""},
	"configmaps":                                            {"ConfigMap", ""},
	"endpointslices.discovery.k8s.io":                       {"EndpointSlice", "discovery.k8s.io"},
	"deployments.apps":                                      {"Deployment", "apps"},
	"networkpolicies.networking.k8s.io":                     {"NetworkPolicy", "networking.k8s.io"},
	"ingresses.networking.k8s.io":                           {"Ingress", "networking.k8s.io"},
	"gateways.networking.istio.io":                          {"Gateway", "networking.istio.io"},
	"virtualservices.networking.istio.io":                   {"VirtualService", "networking.istio.io"},
	"destinationrules.networking.istio.io":                  {"DestinationRule", "networking.istio.io"},
	"serviceentries.networking.istio.io":                    {"ServiceEntry", "networking.istio.io"},
	"workloadentries.networking.istio.io":                   {"WorkloadEntry", "networking.istio.io"},
	"sidecars.networking.istio.io":                          {"Sidecar", "networking.istio.io"},
	"envoyfilters.networking.istio.io":                      {"EnvoyFilter", "networking.istio.io"},
	"peerauthentications.security.istio.io":                 {"PeerAuthentication", "security.istio.io"},
	"requestauthentications.security.istio.io":              {"RequestAuthentication", "security.istio.io"},
	"authorizationpolicies.security.istio.io":               {"AuthorizationPolicy", "security.istio.io"},
	"telemetries.telemetry.istio.io":                        {"Telemetry", "telemetry.istio.io"},
	"gateways.gateway.networking.k8s.io":                    {"Gateway", "gateway.networking.k8s.io"},
	"httproutes.gateway.networking.k8s.io":                  {"HTTPRoute", "gateway.networking.k8s.io"},
	"grpcroutes.gateway.networking.k8s.io":                  {"GRPCRoute", "gateway.networking.k8s.io"},
	"tlsroutes.gateway.networking.k8s.io":                   {"TLSRoute", "gateway.networking.k8s.io"},
	"tcproutes.gateway.networking.k8s.io":                   {"TCPRoute", "gateway.networking.k8s.io"},
	"referencegrants.gateway.networking.k8s.io":             {"ReferenceGrant", "gateway.networking.k8s.io"},
	"ciliumnetworkpolicies.cilium.io":                       {"CiliumNetworkPolicy", "cilium.io"},
	"ciliumclusterwidenetworkpolicies.cilium.io":            {"CiliumClusterwideNetworkPolicy", "cilium.io"},
	"networkpolicies.crd.projectcalico.org":                 {"NetworkPolicy", "crd.projectcalico.org"},
	"globalnetworkpolicies.crd.projectcalico.org":           {"GlobalNetworkPolicy", "crd.projectcalico.org"},
	"adminnetworkpolicies.policy.networking.k8s.io":         {"AdminNetworkPolicy", "policy.networking.k8s.io"},
	"baselineadminnetworkpolicies.policy.networking.k8s.io": {"BaselineAdminNetworkPolicy", "policy.networking.k8s.io"},
	"clusternetworkpolicies.policy.networking.k8s.io":       {"ClusterNetworkPolicy", "policy.networking.k8s.io"},
	"networkpolicies.crd.antrea.io":                         {"NetworkPolicy", "crd.antrea.io"},
	"clusternetworkpolicies.crd.antrea.io":                  {"ClusterNetworkPolicy", "crd.antrea.io"},
}

// ResourceOf names the list that holds objects of a kind of an API group, as a
// [Lister] takes it; "" where this package does not know the kind.
func ResourceOf(group, kind string) string {
	for name, r := range resources {
		if r.kind == kind && r.group == group {
			return name
		}
	}
	return ""
}

// KindOf is the kind and the API group of the objects of a resource; empty where
// this package does not know it.
func KindOf(name string) (kind, group string) {
	r := resources[name]
	return r.kind, r.group
}

// list reads and indexes a list, or gives the one that was read.
func (v *View) list(ctx context.Context, name string, sel Selector) (*list, error) {
	v.mu.Lock()
	bySel := v.lists[name]
	if bySel == nil {
		bySel = map[Selector]*pending{}
		v.lists[name] = bySel
	}
	p := bySel[Selector{}]
	if p != nil && sel != (Selector{}) {
		// The whole was asked for. It serves, unless it could not be had: what is
		// narrower may be allowed where the whole is not.
		v.mu.Unlock()
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("k8s: %s: %w", name, ctx.Err())
		}
		if p.err == nil {
			return p.list, nil
		}
		v.mu.Lock()
		p = bySel[sel]
	} else {
		p = bySel[sel]
	}
	if p != nil {
		v.mu.Unlock()
		select {
		case <-p.done:
			return p.list, p.err
		case <-ctx.Done():
			return nil, fmt.Errorf("k8s: %s: %w", name, ctx.Err())
		}
	}
	p = &pending{done: make(chan struct{})}
	bySel[sel] = p
	v.mu.Unlock()

	p.list, p.err = v.read(ctx, name, sel)
	if p.err != nil && ctx.Err() != nil {
		v.mu.Lock()
		delete(bySel, sel) // the caller gave up; that is no answer for the next one
		v.mu.Unlock()
	}
	close(p.done)
	return p.list, p.err
}

func (v *View) read(ctx context.Context, name string, sel Selector) (*list, error) {
	data, err := v.l.List(ctx, name, sel)
	if err != nil {
		return nil, fmt.Errorf("k8s: %s: %w", name, err)
	}
	v.mu.Lock()
	for _, l := range v.all[name] {
		if len(l.data) == len(data) && len(data) > 0 && &l.data[0] == &data[0] {
			v.mu.Unlock()
			return l, nil
		}
	}
	v.mu.Unlock()
	l, err := newList(name, data)
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	v.all[name] = append(v.all[name], l)
	v.mu.Unlock()
	return l, nil
}

func newList(name string, data []byte) (*list, error) {
	l := &list{name: name, resource: resources[name], data: data, byName: map[string]*item{}}
	other, others := "", 0
	err := scan(data, func(it *item) error {
		if it.name == "" || l.resource.kind != "" && it.kind != "" && (it.kind != l.resource.kind || it.group() != l.resource.group) {
			other, others = it.kind, others+1
			return nil // another kind of a mixed list
		}
		if l.byName[it.key()] == nil {
			l.byName[it.key()] = it
			l.items = append(l.items, it)
		}
		return nil
	})
	var de *DecodeError
	if errors.As(err, &de) {
		de.Resource = name
		return nil, fmt.Errorf("k8s: %w", de)
	}
	if err != nil {
		return nil, fmt.Errorf("k8s: %s: %w", name, err)
	}
	if others > 0 && len(l.items) == 0 {
		// Taken for an empty list it would say that there are none.
		de := &DecodeError{Resource: name, Line: 1, Column: 1, Msg: fmt.Sprintf("another list: %d objects, such as a %s, and no %s", others, cmp.Or(other, "nameless one"), cmp.Or(l.resource.kind, name))}
		return nil, fmt.Errorf("k8s: %w", de)
	}
	slices.SortFunc(l.items, func(a, b *item) int {
		return cmp.Or(strings.Compare(a.ns, b.ns), strings.Compare(a.name, b.name))
	})
	return l, nil
}

// at indexes the addresses of the list's items.
func (l *list) at(addr netip.Addr) []*item {
	l.addrOnce.Do(func() {
		l.byAddr = map[netip.Addr][]*item{}
		for _, it := range l.items {
			for _, as := range [][]netip.Addr{it.clusterIPs, it.externalIPs, it.lbIPs, it.addrs} {
				for _, a := range as {
					if s := l.byAddr[a]; len(s) == 0 || s[len(s)-1] != it {
						l.byAddr[a] = append(s, it)
					}
				}
			}
		}
	})
	return l.byAddr[addr.Unmap().WithZone("")]
}

// decoded gives the typed form of an item, decoding it once.
func decoded[T any](l *list, it *item, decode func(*item) (*T, error)) (*T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o := it.obj.(type) {
	case *T:
		return o, nil
	case *DecodeError:
		return nil, fmt.Errorf("k8s: %w", o)
	}
	o, err := decode(it)
	if err != nil {
		de := &DecodeError{Resource: l.name, Object: strings.TrimPrefix(it.key(), "/"), Line: it.line, Column: 1, Msg: err.Error()}
		if it.off >= 0 {
			off := it.off + int(offsetOf(err))
			de.Offset = int64(off)
			de.Line, de.Column = position(l.data, off)
		}
		it.obj = de
		return nil, fmt.Errorf("k8s: %w", de)
	}
	it.obj = o
	return o, nil
}

// every decodes the items that keep says; nil keeps all.
func every[T any](l *list, decode func(*item) (*T, error), keep func(*item) bool) ([]*T, error) {
	var out []*T
	for _, it := range l.items {
		if keep != nil && !keep(it) {
			continue
		}
		o, err := decoded(l, it, decode)
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}

// get finds one object by name. ns is empty for what has no namespace.
func get[T any](ctx context.Context, v *View, resource, ns, name string, decode func(*item) (*T, error)) (*T, error) {
	l, err := v.list(ctx, resource, Selector{Namespace: ns, Name: name})
	if err != nil {
		return nil, err
	}
	it := l.byName[ns+"/"+name]
	if it == nil {
		return nil, nil
	}
	return decoded(l, it, decode)
}

// all lists a resource; ns narrows where it is not empty.
func all[T any](ctx context.Context, v *View, resource, ns string, decode func(*item) (*T, error)) ([]*T, error) {
	l, err := v.list(ctx, resource, Selector{Namespace: ns})
	if err != nil {
		return nil, err
	}
	return every(l, decode, func(it *item) bool { return ns == "" || it.ns == ns })
}
