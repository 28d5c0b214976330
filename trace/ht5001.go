package trace

import (
	"fmt"
	"strings"

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
		var written *k8s.DestinationRule
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
				rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host)
				if q.refused(err) != nil || rule == nil || len(rule.Spec.GetSubsets()) == 0 {
					detail += fmt.Sprintf(": no DestinationRule for %s defines the subset %s that this proxy sees", c.host, c.subset)
					fix = append(fix, fmt.Sprintf("define subset %s in a DestinationRule for %s", c.subset, c.host))
					break
				}
				var have []string
				for _, s := range rule.Spec.GetSubsets() {
					have = append(have, s.GetName())
				}
				where := fmt.Sprintf("kubectl -n %s edit destinationrules.networking.istio.io %s", rule.Namespace, rule.Name)
				if rule.Subset(c.subset) != nil {
					detail += fmt.Sprintf(": %s defines the subset %s, and this proxy has not got it", rule.Ref(), c.subset)
					fix = append(fix, fmt.Sprintf("istioctl proxy-status %s.%s   # is its CDS SYNCED?", n.facts.pod.ref.name, n.facts.pod.ref.namespace))
					break
				}
				detail += fmt.Sprintf(": %s defines the subsets %s, and no %s", rule.Ref(), strings.Join(have, ", "), c.subset)
				fix = append(fix, fmt.Sprintf("define subset %s in %s (%s), or name one of its subsets in %s: %s", c.subset, rule.Ref(), where, routeOwner(n, "the VirtualService"), strings.Join(have, ", ")))
				written = rule
			}
		}
		fix = append(fix, fmt.Sprintf("istioctl pc clusters %s.%s --fqdn %s", n.facts.pod.ref.name, n.facts.pod.ref.namespace, orElse(c.host, name)))
		f := q.report(n, detail, fix...)
		q.citeBefore(f, n)
		if written != nil {
			q.written(f, &written.Meta, "subsets", "subsets")
		}
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
