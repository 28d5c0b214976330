package trace

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/hoptrail/hoptrail/envoyadmin"
)

// ht3006 names plain text on a TLS port, or TLS on a plain one.
func ht3006(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.hop.State != Fail || n.facts.direction == envoyadmin.Inbound {
			return
		}
		f := n.facts.flow
		switch {
		case f.tls == "none" && (o.Error == envoyadmin.NoFilterChain && wantsTLS(o) || o.Error == envoyadmin.TLSRequired):
			found := q.report(n, fmt.Sprintf("the client speaks plain text to %s, where every filter chain wants TLS", f.dst),
				q.otherScheme("https"), "or use the port of the plain server")
			found.same = q.workload(n) + strconv.Itoa(int(f.dst.Port()))
		case f.tls != "none" && o.Error != envoyadmin.NoFilterChain && !o.Extra.DownstreamTLS && o.Terminal == "http_connection_manager":
			found := q.report(q.listenerHop(n), fmt.Sprintf("the client speaks TLS to %s, where plain HTTP is served: the proxy takes the handshake for a broken request (400, DPE http1.codec_error), the client sees 'wrong version number'", f.dst),
				q.otherScheme("http"), "or use the port of the TLS server")
			found.same = q.workload(n) + strconv.Itoa(int(f.dst.Port()))
		}
	}, KindListener, KindFilterChain, KindFilter, KindRoute)

	q.kind(func(n *node) { // a client with a sidecar speaks TLS itself, where the mesh speaks HTTP
		if n.hop.State != Fail {
			return
		}
		at := q.ownTLS(n)
		if at == nil {
			return
		}
		f := at.facts.flow
		what := f.dst.String()
		if s := q.serviceAt(f); s != nil {
			what += " (" + s.String() + ")"
		}
		found := q.report(at, fmt.Sprintf("the client speaks TLS itself to %s, a port that the mesh knows as HTTP: its sidecar passes on what it cannot read, and the sidecar of Pod %s takes the mesh's own mutual TLS only", what, n.facts.pod.ref),
			q.otherScheme("http")+": the sidecars speak mutual TLS between them without being asked")
		found.same = what
	}, KindListener, KindFilterChain)
}

// wantsTLS says whether a filter chain was missed because it wants TLS.
func wantsTLS(o *envoyadmin.Outcome) bool {
	for _, m := range o.NearMisses {
		if m.Kind == "filter_chain" {
			return true
		}
	}
	return false
}

// otherScheme is what to ask for with the other scheme at the same place.
func (q *inquiry) otherScheme(scheme string) string {
	t := q.target
	if !t.HTTP() {
		return "speak " + map[string]string{"http": "plain text", "https": "TLS"}[scheme] + " there"
	}
	host := t.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if t.Port != defaultPorts[scheme] {
		host += ":" + strconv.Itoa(t.Port)
	}
	return "ask for " + scheme + "://" + host + t.Path
}
