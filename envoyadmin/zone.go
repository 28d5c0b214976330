package envoyadmin

import (
	"fmt"
	"math"

	lbcommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"

	"github.com/hoptrail/hoptrail/envoyadmin/internal/jsonscan"
)

// zoneAware is how a cluster prefers hosts of the proxy's own locality. Envoy
// does so by default, wherever the bootstrap names a local cluster.
type zoneAware struct {
	off       bool    // the policy does not look at zones
	routing   float64 // share of the requests that are routed by zone
	minimum   uint64  // healthy hosts below which it is not done
	byWeight  bool    // localities count by the weight of their hosts, not by their number
	byLoad    bool    // by what the hosts report (ORCA)
	forceFrom *uint32 // so many healthy local hosts get everything
}

// zoneDefaults are those of ZoneAwareLoadBalancerBase.
func zoneDefaults() zoneAware { return zoneAware{routing: 1, minimum: 6} }

func (z *zoneAware) read(c *lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig) {
	if c == nil {
		return
	}
	if p := c.GetRoutingEnabled(); p != nil {
		z.routing = math.Min(1, math.Max(0, math.Round(p.GetValue())/100))
	}
	if m := c.GetMinClusterSize(); m != nil {
		z.minimum = m.GetValue()
	}
	z.byWeight = c.GetLocalityBasis() == lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_WEIGHT
	z.byLoad = c.GetLocalityBasis() > lbcommonv3.LocalityLbConfig_ZoneAwareLbConfig_HEALTHY_HOSTS_WEIGHT
	if f := c.GetForceLocalZone(); f != nil {
		n := uint32(1)
		if m := f.GetMinSize(); m != nil {
			n = m.GetValue()
		}
		z.forceFrom = &n
	} else if c.GetForceLocalityDirectRouting() { //nolint:staticcheck // still honoured
		n := uint32(1)
		z.forceFrom = &n
	}
}

// home is the proxy's own cluster and locality, as its bootstrap names them.
type home struct {
	cluster, locality string
	hosts             []upstreamHost
	unknown           string // why the hosts are not known
}

// home is nil where the bootstrap names no local cluster: zones play no part.
func (d *Dump) home() *home {
	if d.bootstrap < 0 {
		return nil
	}
	text := func(keys ...string) string { return jsonscan.Text(d.data, jsonscan.Path(d.data, d.bootstrap, keys...)) }
	h := &home{cluster: text("cluster_manager", "local_cluster_name")}
	if h.cluster == "" {
		return nil
	}
	h.locality = locality(text("node", "locality", "region"), text("node", "locality", "zone"), text("node", "locality", "sub_zone"))
	c := d.cluster(h.cluster)
	if c == nil || c.err != nil {
		h.unknown = "the dump does not hold the local cluster " + h.cluster
		return h
	}
	set := d.hosts(c)
	if !set.known {
		h.unknown = "the hosts of the local cluster " + h.cluster + " are not known: " + set.why
	}
	h.hosts = set.hosts
	return h
}

// zones gives the share of each locality of the first priority, and the part of
// the requests that is spread that way; nil where localities do not count. why
// says what was found; open says why it cannot be told.
//
//	share of the proxies in a zone ≤ share of the healthy hosts: all stays in the zone
//	else hosts/proxies of it stays; the rest goes where there are more hosts than proxies
//
// Source: regenerateLocalityRoutingStructures, earlyExitNonLocalityRouting,
// calculateLocalityPercentages, hostSourceToUse and tryChooseLocalLocalityHosts in
// source/extensions/load_balancing_policies/common/load_balancer_impl.cc.
func (b *balancing) zones(hosts []upstreamHost, h *home) (share map[string]float64, part float64, why, open string) {
	z := &b.zone
	if h == nil || z.off || z.routing == 0 || b.localityWeighted {
		return nil, 0, "", ""
	}
	healthy, all := map[string]uint64{}, map[string]bool{}
	var order []string
	var count, total, here uint64
	for i := range hosts {
		u := &hosts[i]
		if u.priority != 0 {
			continue
		}
		if !all[u.locality] {
			all[u.locality] = true
			order = append(order, u.locality)
		}
		if !u.fit() {
			continue
		}
		n := uint64(1)
		if z.byWeight {
			n = uint64(u.weight)
		}
		count++
		if u.locality == h.locality {
			here++
		}
		healthy[u.locality] += n
		total += n
	}
	if len(order) < 2 || count < z.minimum {
		return nil, 0, "", ""
	}
	if h.unknown != "" {
		return nil, 0, "", "zone-aware routing may prefer hosts of the proxy's own locality " + h.locality + ": " + h.unknown
	}
	if z.byLoad {
		return nil, 0, "", "zone-aware routing follows the load that hosts report (ORCA), which is not known"
	}
	proxies, localities, home := map[string]uint64{}, map[string]bool{}, false
	var proxiesTotal, proxiesAll, excluded, fit uint64
	for i := range h.hosts {
		u := &h.hosts[i]
		if u.priority != 0 {
			continue
		}
		proxiesAll++
		localities[u.locality] = true
		home = home || u.locality == h.locality
		if u.excluded {
			excluded++
		}
		if u.fit() || u.health == "degraded" {
			fit++
		}
		if !u.fit() {
			continue
		}
		n := uint64(1)
		if z.byWeight {
			n = uint64(u.weight)
		}
		proxies[u.locality] += n
		proxiesTotal += n
	}
	switch {
	case len(localities) < 2 && z.forceFrom == nil, h.locality == "", !home:
		return nil, 0, "", ""
	case proxiesAll == excluded || 100*float64(fit)/float64(proxiesAll-excluded) < float64(b.panicThreshold):
		if b.failOnPanic {
			return map[string]float64{}, z.routing, "the local cluster " + h.cluster + " is in panic and fail_traffic_on_panic is set", ""
		}
		return nil, 0, "", ""
	}
	percent := func(n, of uint64) uint64 {
		if of == 0 {
			return 0
		}
		return 10000 * n / of
	}
	local, upstream := percent(proxies[h.locality], proxiesTotal), percent(healthy[h.locality], total)
	if all[h.locality] && (upstream > 0 && upstream >= local || z.forceFrom != nil && here >= uint64(*z.forceFrom)) {
		return map[string]float64{h.locality: 1}, z.routing, fmt.Sprintf("zone-aware: all of it stays in the proxy's locality %s", h.locality), ""
	}
	share = map[string]float64{}
	stay := 0.0
	if all[h.locality] && local > 0 {
		stay = float64(upstream*10000/local) / 10000
	}
	room, sum := map[string]uint64{}, uint64(0)
	for _, l := range order {
		if up, lo := percent(healthy[l], total), percent(proxies[l], proxiesTotal); l != h.locality && healthy[l] > 0 && up > lo {
			room[l] = up - lo
			sum += up - lo
		}
	}
	share[h.locality] += stay
	for _, l := range order {
		if sum == 0 {
			share[l] += (1 - stay) / float64(len(order))
		} else {
			share[l] += (1 - stay) * float64(room[l]) / float64(sum)
		}
	}
	return share, z.routing, fmt.Sprintf("zone-aware: %.4g %% stays in the proxy's locality %s", 100*stay, h.locality), ""
}

// fit says that a host counts as healthy; one whose health is not known does.
func (h *upstreamHost) fit() bool { return h.health == "healthy" || h.health == "unknown" }
