package envoyadmin

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dubbov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/dubbo_proxy/v3"
	genericactionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/action/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/generic_proxy/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	thriftv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/thrift_proxy/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/decode"
)

// protocolRoute is one route of a proxy for a protocol whose requests are not
// part of a [Call]: it holds for every request, or for some.
type protocolRoute struct {
	when    string // in words; empty: for every request
	cluster string
	weights []WeightedCluster
	unknown string // why the cluster is not known
}

// target is where the route leads, in words.
func (p *protocolRoute) target() string {
	switch {
	case p.unknown != "":
		return p.unknown
	case len(p.weights) > 0:
		var names []string
		for _, c := range p.weights {
			if c.Weight > 0 {
				names = append(names, c.Name)
			}
		}
		return strings.Join(names, " or ")
	default:
		return p.cluster
	}
}

// protocol is what a terminal filter of such a protocol decides by itself.
type protocol struct {
	routes []protocolRoute
	doubts []string // what may refuse, or where routes are that the dump has not
	notes  []string // what does not change where a request goes
}

// otherTerminal ends the way at a filter whose protocol is not followed: where
// its routes send every request to one place, there; else open.
func (r *run) otherTerminal(w *way, f *listenerv3.Filter, kind string, step Step) {
	w.out.Terminal = strings.TrimPrefix(f.GetName(), "envoy.filters.network.")
	c := &r.call
	switch kind {
	case network + "direct_response.v3.Config", network + "echo.v3.Echo":
		step.State, step.Why = StateOK, "answers every connection with a fixed text and closes it"
		if kind == network+"echo.v3.Echo" {
			step.Why = "echoes what it receives"
		}
		w.step(step)
		w.settle(DirectResponse, "", "", "")
		w.end()
		return
	}
	p, err := r.protocol(f, kind)
	if err != nil {
		step.Why = "its configuration does not decode"
		w.step(step)
		w.doubt("filter %s: %v", f.GetName(), err)
		w.end()
		return
	}
	if c.ConnectOnly {
		step.State, step.Why = StateOK, "takes the connection; where requests go is decided for each"
		w.step(step)
		for i := range p.routes {
			w.out.Hosts = append(w.out.Hosts, joinWords(p.routes[i].when, p.routes[i].target()))
		}
		w.settle(Forward, "", "", "")
		w.end()
		return
	}
	for _, n := range p.notes {
		w.note(n)
	}
	switch {
	case c.TLS != NoTLS && !r.d.body(r.chain).socket.tls:
		p.doubts = append(p.doubts, "the client speaks TLS, which the chain does not terminate, to a filter that reads a protocol of its own")
	case c.Protocol != TCP:
		p.doubts = append(p.doubts, "the client speaks HTTP to a filter that reads a protocol of its own")
	}
	one, why := settled(p.routes)
	step.Why = joinWords(step.Why, why)
	if one == nil {
		p.doubts = append(p.doubts, "filter "+f.GetName()+" "+why)
	} else if len(p.doubts) == 0 {
		step.State = StateOK
	}
	w.step(step)
	for _, d := range p.doubts {
		w.doubt("%s", d)
	}
	switch {
	case one == nil:
		w.end()
	case len(one.weights) > 0:
		r.weighted(w, one.weights, func(n *way, i int) { r.forward(n, one.weights[i].Name, sending{}) })
	default:
		r.forward(w, one.cluster, sending{})
	}
}

// settled finds the route every request takes: the only one reached, or any
// where all that are reached lead to the same cluster. nil if there is none, and
// why.
func settled(routes []protocolRoute) (*protocolRoute, string) {
	for i := range routes {
		if routes[i].when == "" {
			routes = routes[:i+1]
			break
		}
	}
	if len(routes) == 0 {
		return nil, "routes by the content of its own protocol, and its routes are not known"
	}
	var ways []string
	for i := range routes {
		t := routes[i].target()
		if routes[i].when != "" {
			t = routes[i].when + " to " + t
		}
		if !slices.Contains(ways, t) {
			ways = append(ways, t)
		}
	}
	last := &routes[len(routes)-1]
	same := last.when == "" && last.unknown == "" && !slices.ContainsFunc(routes, func(p protocolRoute) bool {
		return p.unknown != "" || p.cluster != last.cluster || len(routes) > 1 && len(p.weights) > 0
	})
	switch {
	case same && len(routes) == 1:
		return last, "sends every request to " + last.target()
	case same:
		return last, fmt.Sprintf("each of its %d routes leads to %s", len(routes), last.cluster)
	}
	if last.when != "" {
		ways = append(ways, "what is none of these nowhere")
	}
	return nil, "routes by the content of its own protocol, which is not evaluated: " + few(ways)
}

// protocol reads the routes of a terminal filter. The clusters of one that is not
// known are named without saying when they are used.
func (r *run) protocol(f *listenerv3.Filter, kind string) (protocol, error) {
	a := f.GetTypedConfig()
	switch kind {
	case network + "redis_proxy.v3.RedisProxy":
		c := &redisv3.RedisProxy{}
		if a != nil {
			if err := a.UnmarshalTo(c); err != nil {
				return protocol{}, err
			}
		}
		return r.redis(c), nil
	case network + "thrift_proxy.v3.ThriftProxy":
		c := &thriftv3.ThriftProxy{}
		if a != nil {
			if err := a.UnmarshalTo(c); err != nil {
				return protocol{}, err
			}
		}
		return thrift(c), nil
	case network + "dubbo_proxy.v3.DubboProxy":
		c := &dubbov3.DubboProxy{}
		if a != nil {
			if err := a.UnmarshalTo(c); err != nil {
				return protocol{}, err
			}
		}
		return dubbo(c), nil
	case network + "generic_proxy.v3.GenericProxy":
		c := &genericv3.GenericProxy{}
		if a != nil {
			if err := a.UnmarshalTo(c); err != nil {
				return protocol{}, err
			}
		}
		return r.generic(c), nil
	}
	return r.unread(kind), nil
}

// unread names the clusters of a filter whose routes are not read.
func (r *run) unread(kind string) protocol {
	p := protocol{}
	for _, c := range clustersIn(r.d.data[r.chain.from:r.chain.to]) {
		p.routes = append(p.routes, protocolRoute{when: "some requests", cluster: c})
	}
	if len(p.routes) == 0 {
		p.doubts = append(p.doubts, "where "+lastPart(kind)+" sends what it reads is not known here")
	}
	return p
}

// redis: the longest prefix of the key decides, else the catch-all route.
// Source: source/extensions/filters/network/redis_proxy/router_impl.cc.
func (r *run) redis(c *redisv3.RedisProxy) protocol {
	p := protocol{}
	add := func(when string, rt *redisv3.RedisProxy_PrefixRoutes_Route) {
		if read := rt.GetReadCommandPolicy().GetCluster(); read != "" && read != rt.GetCluster() {
			p.routes = append(p.routes, protocolRoute{when: joinWords(when, "a command that reads"), cluster: read})
		}
		p.routes = append(p.routes, protocolRoute{when: when, cluster: rt.GetCluster()})
	}
	for _, rt := range c.GetPrefixRoutes().GetRoutes() {
		add("keys that begin with "+strconv.Quote(rt.GetPrefix()), rt)
	}
	if rt := c.GetPrefixRoutes().GetCatchAllRoute(); rt != nil {
		add("", rt)
	}
	for _, u := range append(decode.Unknown(c), decode.Unknown(c.GetPrefixRoutes())...) { // up to Envoy 1.14
		k, v, _ := strings.Cut(u, ": ")
		name, err := strconv.Unquote(v)
		switch strings.TrimPrefix(k, "hidden_envoy_deprecated_") {
		case "cluster", "catch_all_cluster":
			if err == nil {
				p.routes = append(p.routes, protocolRoute{cluster: name})
				continue
			}
		}
		p.doubts = append(p.doubts, "the Redis proxy has settings not known here: "+u)
	}
	if c.GetDownstreamAuthPassword() != nil || len(c.GetDownstreamAuthPasswords()) > 0 {
		p.doubts = append(p.doubts, "the Redis proxy wants a password first; whether the client has it cannot be known from here")
	}
	if g := c.GetExternalAuthProvider().GetGrpcService(); g != nil {
		p.doubts = append(p.doubts, "the Redis proxy asks an authentication service"+asked(g.GetEnvoyGrpc().GetClusterName())+": it may refuse, which cannot be known from here")
	}
	for _, f := range c.GetFaults() {
		switch {
		case f.GetFaultType() == redisv3.RedisProxy_RedisFault_ERROR:
			p.doubts = append(p.doubts, "the Redis proxy answers some commands with a fault (faults)")
		case f.GetDelay() != nil:
			p.notes = append(p.notes, "the Redis proxy delays some commands by "+f.GetDelay().AsDuration().String()+" (faults)")
		}
	}
	return p
}

func asked(cluster string) string {
	if cluster == "" {
		return ""
	}
	return " (cluster " + cluster + ")"
}

// thrift: the first route that matches. Source:
// source/extensions/filters/network/thrift_proxy/router/router_impl.cc.
func thrift(c *thriftv3.ThriftProxy) protocol {
	p := protocol{}
	if c.GetTrds() != nil {
		p.doubts = append(p.doubts, "the routes of the Thrift proxy ("+c.GetTrds().GetRouteConfigName()+") are discovered (TRDS) and not in the dump")
	}
	for _, rt := range c.GetRouteConfig().GetRoutes() {
		m, a := rt.GetMatch(), rt.GetRoute()
		var when []string
		switch {
		case m.GetMethodName() != "":
			when = append(when, "method "+m.GetMethodName())
		case m.GetServiceName() != "":
			when = append(when, "service "+m.GetServiceName())
		}
		if m.GetInvert() {
			when = []string{"what is not " + strings.Join(when, "")}
		}
		if len(m.GetHeaders()) > 0 {
			when = append(when, "some headers")
		}
		if un := append(decode.Unknown(m), decode.Unknown(a)...); len(un) > 0 {
			when = append(when, "with settings not known here ("+strings.Join(un, "; ")+")")
		}
		to := protocolRoute{when: strings.Join(when, ", "), cluster: a.GetCluster()}
		for _, wc := range a.GetWeightedClusters().GetClusters() {
			to.weights = append(to.weights, WeightedCluster{wc.GetName(), wc.GetWeight().GetValue()})
		}
		if h := a.GetClusterHeader(); h != "" {
			to.unknown = "the cluster of header " + h
		}
		p.routes = append(p.routes, to)
	}
	for _, f := range c.GetThriftFilters() {
		switch kind := typeOf(f.GetTypedConfig(), f.GetName()); lastPart(kind) {
		case "Router", "router", "HeaderToMetadata", "header_to_metadata", "PayloadToMetadata", "payload_to_metadata":
		case "RateLimit", "rate_limit":
			p.notes = append(p.notes, "Thrift filter "+f.GetName()+" refuses what goes beyond a rate limit")
		default:
			p.doubts = append(p.doubts, "Thrift filter "+f.GetName()+" ("+kind+") is not known here and may refuse")
		}
	}
	return p
}

// dubbo: the first route that matches of the first route table that does.
// Source: source/extensions/filters/network/dubbo_proxy/router/route_matcher.cc.
func dubbo(c *dubbov3.DubboProxy) protocol {
	p := protocol{}
	tables := c.GetRouteConfig()
	if m := c.GetMultipleRouteConfig(); m != nil {
		tables = m.GetRouteConfig()
	}
	if c.GetDrds() != nil {
		p.doubts = append(p.doubts, "the routes of the Dubbo proxy ("+c.GetDrds().GetRouteConfigName()+") are discovered (DRDS) and not in the dump")
	}
	for _, t := range tables {
		var service []string
		if t.GetInterface() != "*" {
			service = append(service, "interface "+t.GetInterface())
		}
		if t.GetGroup() != "" {
			service = append(service, "group "+t.GetGroup())
		}
		if t.GetVersion() != "" {
			service = append(service, "version "+t.GetVersion())
		}
		for _, rt := range t.GetRoutes() {
			when := slices.Clone(service)
			m, a := rt.GetMatch(), rt.GetRoute()
			if m.GetMethod() != nil {
				when = append(when, strings.TrimSpace("method "+sanText(m.GetMethod().GetName())))
			}
			if len(m.GetHeaders()) > 0 {
				when = append(when, "some headers")
			}
			if un := append(decode.Unknown(m), decode.Unknown(a)...); len(un) > 0 {
				when = append(when, "with settings not known here ("+strings.Join(un, "; ")+")")
			}
			to := protocolRoute{when: strings.Join(when, ", "), cluster: a.GetCluster()}
			to.weights = routeWeights(a.GetWeightedClusters())
			p.routes = append(p.routes, to)
		}
	}
	for _, f := range c.GetDubboFilters() {
		if kind := typeOf(f.GetConfig(), f.GetName()); !strings.HasSuffix(strings.ToLower(kind), "router") {
			p.doubts = append(p.doubts, "Dubbo filter "+f.GetName()+" ("+kind+") is not known here and may refuse")
		}
	}
	return p
}

func routeWeights(wc *routev3.WeightedCluster) []WeightedCluster {
	var out []WeightedCluster
	for _, c := range wc.GetClusters() {
		out = append(out, WeightedCluster{c.GetName(), c.GetWeight().GetValue()})
	}
	return out
}

// generic: a matcher tree, of the virtual host or of the whole table. Only one
// that names the same action for every request is read.
func (r *run) generic(c *genericv3.GenericProxy) protocol {
	rc := c.GetRouteConfig()
	tree := rc.GetRoutes()
	if vs := rc.GetVirtualHosts(); tree == nil && len(vs) == 1 && slices.Contains(vs[0].GetHosts(), "*") {
		tree = vs[0].GetRoutes()
	} else if len(vs) > 0 {
		tree = nil
	}
	var p protocol
	action := &genericactionv3.RouteAction{}
	if tree.GetMatcherType() == nil && unpack(tree.GetOnNoMatch().GetAction().GetTypedConfig(), action) {
		p.routes = []protocolRoute{{cluster: action.GetCluster(), weights: routeWeights(action.GetWeightedClusters())}}
	} else {
		p = r.unread("GenericProxy")
	}
	if g := c.GetGenericRds(); g != nil {
		p.doubts = append(p.doubts, "the routes of the generic proxy ("+g.GetRouteConfigName()+") are discovered and not in the dump")
	}
	for _, f := range c.GetFilters() {
		if kind := typeOf(f.GetTypedConfig(), f.GetName()); !strings.HasSuffix(strings.ToLower(kind), "router") {
			p.doubts = append(p.doubts, "filter "+f.GetName()+" ("+kind+") of the generic proxy is not known here and may refuse")
		}
	}
	return p
}
