package trace

import (
	"fmt"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht5001 names a route to a cluster that the proxy does not have.
func ht5001(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || o.Error != envoyadmin.NoCluster || n.hop.State != Fail {
			return
		}
		name := n.hop.Detail.Name
		detail := "the route names the cluster " + name + ", which this proxy does not have"
		var fix []string
		c, ok := parseIstioCluster(name)
		if ok {
			svc, err := q.cluster.ServiceByHost(q.ctx, c.host, n.facts.pod.ref.namespace)
			if q.refused(err) != nil {
				svc = nil
			}
			switch {
			case svc == nil:
				detail += fmt.Sprintf(": there is no Service %s", c.host)
				if near := k8s.Nearest(c.host, q.serviceHosts()); near != "" {
					detail += "; the nearest is " + near
					fix = append(fix, fmt.Sprintf("in %s set destination.host to %s", routeOwner(n, "the VirtualService"), near))
				}
			case svc.PortFor(uint16(c.port), "tcp") == nil:
				detail += fmt.Sprintf(": Service %s/%s has no port %d, it has %s", svc.Namespace, svc.Name, c.port, portList(svc))
				fix = append(fix, fmt.Sprintf("in %s set destination.port.number to a port of the Service: %s", routeOwner(n, "the VirtualService"), portList(svc)))
			case c.subset != "":
				detail += fmt.Sprintf(": no DestinationRule for %s defines the subset %s that this proxy sees", c.host, c.subset)
				fix = append(fix, fmt.Sprintf("define subset %s in a DestinationRule for %s", c.subset, c.host))
			}
		}
		fix = append(fix, fmt.Sprintf("istioctl pc clusters %s.%s --fqdn %s", n.facts.pod.ref.name, n.facts.pod.ref.namespace, orElse(c.host, name)))
		f := q.report(n, detail, fix...)
		q.citeBefore(f, n)
	}, KindCluster)
}

func (q *inquiry) serviceHosts() []string {
	all, err := q.cluster.Services(q.ctx, "")
	q.refused(err)
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = s.Host()
	}
	return out
}

// routeOwner is the VirtualService, or other resource, that the route by which the
// request came to the hop is written in.
func routeOwner(n *node, otherwise string) string {
	if o := n.facts.outcome; o != nil {
		for _, s := range o.Steps {
			if s.Kind == envoyadmin.KindRoute && len(s.Owner) > 0 {
				return s.Owner[0]
			}
		}
	}
	if n.hop.Kind == KindRoute && len(n.hop.Detail.Owner) > 0 {
		return n.hop.Detail.Owner[0]
	}
	return otherwise
}
