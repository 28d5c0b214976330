package trace

import (
	"fmt"
	"slices"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// badReasons are reasons of a container's state that keep it from serving.
var badReasons = map[string]bool{
	"CrashLoopBackOff": true, "OOMKilled": true, "ImagePullBackOff": true, "ErrImagePull": true, "CreateContainerConfigError": true,
	"CreateContainerError": true, "RunContainerError": true, "Error": true, "ContainerCannotRun": true, "StartError": true,
}

// ht8002 names a container that does not run, or is not ready.
func ht8002(q *inquiry) {
	q.kind(func(n *node) {
		p := n.facts.pod
		if p == nil || n.facts.endpoint != nil {
			return
		}
		ready, why := p.obj.Ready()
		if ready {
			return
		}
		// The Pod must be what stands in the way: its endpoint is kept out, or it
		// is where the request is refused.
		kept, others := false, false
		for _, m := range q.before(n) {
			if m.facts.endpoint != nil && m.facts.endpoint.Health == "unhealthy" && m.hop.State == Fail {
				kept = true
				others = others || slices.ContainsFunc(m.facts.outcome.Endpoints, func(e envoyadmin.Endpoint) bool { return e.Health != "unhealthy" })
			}
		}
		if !kept && n.hop.State != Fail {
			return
		}
		if n.hop.Kind == KindApp && n.hop.State != Fail {
			return // the Pod's own hop says it
		}
		detail := fmt.Sprintf("Pod %s is not ready: %s", p.ref, why)
		fix := []string{fmt.Sprintf("kubectl -n %s describe pod %s", p.ref.namespace, p.ref.name)}
		excerpts := []string{}
		for _, c := range p.obj.Containers() {
			if c.Ready || c.Init && c.State == "terminated" {
				continue
			}
			reason := c.Reason
			if badReasons[c.LastReason] && !badReasons[reason] {
				reason = c.LastReason
			}
			if reason == "" {
				continue
			}
			detail = fmt.Sprintf("container %s of Pod %s is %s (%s), %d restarts", c.Name, p.ref, orElse(c.State, "not running"), reason, c.Restarts)
			if c.Restarts > 0 || c.State == "terminated" {
				fix = append([]string{fmt.Sprintf("kubectl -n %s logs %s -c %s --previous", p.ref.namespace, p.ref.name, c.Name)}, fix...)
			} else if c.Message != "" {
				detail += ": " + c.Message // it never ran, so it wrote no log
			}
			excerpts = append(excerpts, printed(p.obj.Raw, `"ready": false`, member("restartCount", c.Restarts), member("reason", reason)))
			break
		}
		f := q.report(n, detail, fix...)
		f.same = q.workload(n)
		if n.hop.State != Fail && others {
			f.severity = SeverityWarning // as in every rollout: others serve
		}
		query := Query{Area: AreaCluster, File: "pods", Select: Selector{Namespace: p.ref.namespace, Name: p.ref.name}}
		for _, e := range excerpts {
			q.proof(f, Config, query, e, "")
		}
		q.quoteConditions(f, query, p.obj)
		for _, m := range q.before(n) {
			if s := q.serviceOfCluster(m); s != nil {
				q.quoteSlices(f, s)
				break
			}
		}
	}, KindPod, KindApp)
}

// serviceOfCluster is the Service that a cluster's hop is of.
func (q *inquiry) serviceOfCluster(n *node) *servicePort {
	if n.hop.Kind != KindCluster || n.facts.pod == nil {
		return nil
	}
	c, ok := parseIstioCluster(n.hop.Detail.Name)
	if !ok {
		return nil
	}
	svc, err := q.cluster.ServiceByHost(q.ctx, c.host, n.facts.pod.ref.namespace)
	if q.refused(err) != nil || svc == nil {
		return nil
	}
	return q.behind(svc, svc.PortFor(uint16(c.port), "tcp"))
}
