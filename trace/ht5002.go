package trace

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/hoptrail/hoptrail/k8s"
)

// ht5002 names a cluster that has no endpoint at all.
func ht5002(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.endpoint != nil || n.hop.State != Fail {
			return
		}
		if o.Cluster == "BlackHoleCluster" {
			return
		}
		c, _ := parseIstioCluster(o.Cluster)
		detail := "cluster " + o.Cluster + " has no endpoint"
		var fix []string
		f := q.report(n, detail)
		svc, err := q.cluster.ServiceByHost(q.ctx, c.host, n.facts.pod.ref.namespace)
		if q.refused(err) == nil && svc != nil {
			s := q.behind(svc, svc.PortFor(uint16(c.port), "tcp"))
			selector := labels.Set(svc.Spec.Selector)
			pods, err := q.cluster.PodsSelected(q.ctx, svc.Namespace, svc.Spec.Selector)
			q.refused(err)
			switch {
			case len(pods) == 0:
				f.detail += fmt.Sprintf(": the selector %s of Service %s/%s matches no Pod", selector, svc.Namespace, svc.Name)
				if d := q.scaledToZero(svc.Namespace, svc.Spec.Selector); d != nil {
					f.detail += d.says
					fix = append(fix, d.fix...)
					q.proof(f, Config, d.query, d.excerpt, "replicas")
					break
				}
				near := q.nearLabels(svc.Namespace, svc.Spec.Selector)
				if len(near) > 0 {
					f.detail += "; there are Pods with " + strings.Join(near, ", ")
				}
				for _, k := range sortedKeys(svc.Spec.Selector) {
					if key, v, ok := strings.Cut(k8s.Nearest(k+"="+svc.Spec.Selector[k], near), "="); ok && key == k {
						fix = append(fix, fmt.Sprintf("kubectl -n %s patch svc %s -p '{\"spec\":{\"selector\":{%q:%q}}}'   # if that was meant", svc.Namespace, svc.Name, k, v))
					}
				}
				fix = append(fix, fmt.Sprintf("kubectl -n %s get pods --show-labels   # against the selector %s", svc.Namespace, selector))
			case c.subset != "":
				rule, err := q.destinationRule(n.facts.pod.ref.namespace, c.host)
				if q.refused(err) == nil && rule != nil && rule.Subset(c.subset) != nil {
					wants := rule.Subset(c.subset).GetLabels()
					want := labels.Set(wants)
					with := 0
					for _, p := range pods {
						if want.AsSelector().Matches(labels.Set(p.Labels)) {
							with++
						}
					}
					f.detail += fmt.Sprintf(": DestinationRule %s/%s subset %s wants %s; %d of %d Pods carry it", rule.Namespace, rule.Name, c.subset, want, with, len(pods))
					near := labelsNear(pods, wants)
					if with == 0 && len(near) > 0 {
						f.detail += "; they carry " + strings.Join(near, ", ")
						fix = append(fix, fmt.Sprintf("in %s set subsets[%s].labels to labels that Pods carry (%s), or give the Pods %s", rule.Ref(), c.subset, strings.Join(near, ", "), want))
					}
					fix = append(fix, fmt.Sprintf("kubectl -n %s get pods -l %s --show-labels", svc.Namespace, selector))
					q.written(f, &rule.Meta, "subsets", c.subset)
				}
			default:
				f.detail += fmt.Sprintf(": Service %s/%s selects %d Pods, none of which is a ready endpoint of port %d", svc.Namespace, svc.Name, len(pods), c.port)
				fix = append(fix, fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s", svc.Namespace, svc.Name))
			}
			q.proof(f, Config, Query{Area: AreaCluster, File: "services", Select: Selector{Namespace: svc.Namespace, Name: svc.Name}}, excerptOf(svc.Raw, "selector"), "selector")
			n.hop.config("Service", svc.Namespace+"/"+svc.Name, "services", svc.Raw)
			q.quoteSlices(f, s)
			if s.port != nil {
				q.quoteNoEndpoints(f, s)
			}
		}
		if len(fix) == 0 {
			fix = append(fix, "istioctl pc endpoints "+n.facts.pod.ref.name+"."+n.facts.pod.ref.namespace+" --cluster '"+o.Cluster+"'")
		}
		f.fix = fix
	}, KindEndpoint)
}

// nearLabels are the values that Pods of the namespace have for the keys of a
// selector that matches none.
func (q *inquiry) nearLabels(namespace string, selector map[string]string) []string {
	pods, err := q.cluster.Pods(q.ctx, namespace)
	q.refused(err)
	return labelsNear(pods, selector)
}

// labelsNear are the values that the Pods have for the keys of a selector.
func labelsNear(pods []*k8s.Pod, selector map[string]string) []string {
	var out []string
	for _, p := range pods {
		for _, k := range sortedKeys(selector) {
			if v, ok := p.Labels[k]; ok && !slices.Contains(out, k+"="+v) {
				out = append(out, k+"="+v)
			}
		}
	}
	if len(out) > 5 {
		out = out[:5]
	}
	return out
}

// quoteNoEndpoints quotes the rule by which a node that was read refuses the
// Service.
func (q *inquiry) quoteNoEndpoints(f *finding, s *servicePort) {
	for _, key := range sortedKeys(q.nodes) {
		if ns := q.nodes[key]; ns.notRead == nil && q.quote(f, Config, ns.query(saveV4), s.String()+" has no endpoints") {
			return
		}
	}
}
