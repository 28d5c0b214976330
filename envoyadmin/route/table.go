package route

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/matcher"
)

// Table is one route configuration: its own settings and the index of its virtual hosts.
type Table struct {
	// Config is the RouteConfiguration; its virtual_hosts are not looked at and may be absent.
	Config *routev3.RouteConfiguration
	Hosts  *Index
	// SuppressEnvoyHeaders is the router filter's suppress_envoy_headers: x-envoy-original-path and -host are not set.
	SuppressEnvoyHeaders bool
	// MaxNearMisses bounds Decision.NearMisses; 0 means 12.
	MaxNearMisses int
}

// NewTable returns the table of a whole RouteConfiguration, its virtual hosts indexed.
func NewTable(rc *routev3.RouteConfiguration) *Table {
	t := &Table{Config: rc, Hosts: NewIndex(len(rc.GetVirtualHosts()))}
	for _, vh := range rc.GetVirtualHosts() {
		t.Hosts.Add(vh.GetName(), vh.GetDomains()...)
	}
	return t
}

// Choose finds the virtual host of a request. HostChoice.Index is -1 where there is none; Decide then says what
// becomes of the request.
func (t *Table) Choose(req *matcher.Request) HostChoice {
	return t.choose(req)
}

// Decide matches the request in the chosen virtual host, which the caller decoded; vh is nil where Choose found none.
func (t *Table) Decide(req *matcher.Request, choice HostChoice, vh *routev3.VirtualHost) Decision {
	d := t.decide(req, choice, vh)
	if t.Config.GetVhds() != nil {
		// OnDemandRouteUpdate::handleMissingRoute asks only where no route was found; the name is that of
		// VhdsSubscription::domainNameToAlias.
		for i := range d.Outcomes {
			if o := &d.Outcomes[i]; (o.Kind == NoVirtualHost || o.Kind == NoRoute) && req.Authority != "" {
				o.OnDemand = t.Config.GetName() + "/" + strings.ToLower(req.Authority)
			}
		}
	}
	return d
}

// Route is Choose and Decide for a table whose Config holds its virtual hosts.
func (t *Table) Route(req *matcher.Request) Decision {
	c := t.Choose(req)
	if c.Index < 0 || c.Index >= len(t.Config.GetVirtualHosts()) {
		return t.Decide(req, c, nil)
	}
	return t.Decide(req, c, t.Config.GetVirtualHosts()[c.Index])
}

// Send computes again how a forwarded request leaves, for one that the filters changed after its route was chosen. An
// outcome of another kind stays as it is.
func (t *Table) Send(o *Outcome, req *matcher.Request) {
	if o.Kind != Forward {
		return
	}
	up, doubt := t.upstream(newView(req, t.Config.GetIgnorePathParametersInPathMatching()), o.Host, o.Route, o.Entry)
	o.Upstream = up
	if doubt != "" {
		o.Kind, o.Why, o.Possible = Undetermined, doubt, []string{"forward to " + o.Cluster}
	}
}
