package trace

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hoptrail/hoptrail/envoyadmin"
	"github.com/hoptrail/hoptrail/k8s"
)

// ht3005 names a certificate that a TLS server does not have, that has expired, or
// that is for other names than the client's.
func ht3005(q *inquiry) {
	q.kind(func(n *node) {
		o := n.facts.outcome
		if o == nil || n.facts.direction == envoyadmin.Inbound || n.facts.flow.tls == "none" {
			return
		}
		for _, name := range o.Extra.SecretsWarming {
			q.missingSecret(n, name)
		}
		when := q.read.seen[n.facts.proxy.pod.query(AreaProxy, configDump)].obs.At
		for _, c := range o.Extra.Certificates {
			after, err := time.Parse(time.RFC3339, c.NotAfter)
			if err != nil || c.CA || when.IsZero() {
				continue
			}
			before, err := time.Parse(time.RFC3339, c.NotBefore)
			detail := ""
			switch {
			case after.Before(when):
				detail = "expired at " + c.NotAfter
			case err == nil && before.After(when):
				detail = "is not valid before " + c.NotBefore
			default:
				continue
			}
			n.hop.settle(Fail, "the certificate "+c.Name+" "+detail)
			f := q.report(n, fmt.Sprintf("the certificate %s of %s (%s) %s; clients that verify refuse the connection", c.Name, n.facts.proxy.pod, ofWhom(&c), detail),
				"renew it: "+q.secretCommand(c.Name, n.facts.pod.ref.namespace))
			f.same = q.workload(n) + c.Name + detail
			q.quoteCertificate(f, n, &c, c.NotAfter)
		}
		q.otherNames(n)
	}, KindFilterChain)
}

// otherNames names a chain all of whose certificates are for other names than the
// one that the client asked for and verifies (RFC 9525: a DNS name among the
// subject's alternative names; the common name does not count).
func (q *inquiry) otherNames(n *node) {
	name := orElse(q.target.SNI, q.target.Host)
	if n.facts.flow.proxied || n.hop.State == Fail {
		return // another proxy verifies, by its own configuration
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return
	}
	var wrong *envoyadmin.Certificate
	for i, c := range n.facts.outcome.Extra.Certificates {
		switch {
		case c.CA:
		case len(c.SANs) == 0 || slices.ContainsFunc(c.SANs, func(san string) bool { return certifies(san, name) }):
			return
		case wrong == nil:
			wrong = &n.facts.outcome.Extra.Certificates[i]
		}
	}
	if wrong == nil {
		return
	}
	n.hop.settle(Fail, "the certificate "+wrong.Name+" is not for "+name)
	fix := []string{fmt.Sprintf("put one for %s there: %s", name, q.secretCommand(wrong.Name, n.facts.pod.ref.namespace))}
	if near := k8s.Nearest(name, wrong.SANs); near != "" {
		fix = append(fix, "or ask for "+near+", if that was meant")
	}
	f := q.report(n, fmt.Sprintf("the certificate %s of %s is for %s and not for %s; clients that verify refuse the connection", wrong.Name, n.facts.proxy.pod, strings.Join(wrong.SANs, ", "), name), fix...)
	f.title = "TLS certificate is for other names"
	f.same = q.workload(n) + wrong.Name
	q.quoteCertificate(f, n, wrong, wrong.SANs[0])
}

// certifies says whether a name of a certificate stands for a host: itself, or
// with a wildcard for one label.
func certifies(san, host string) bool {
	if suffix, ok := strings.CutPrefix(san, "*."); ok {
		_, rest, found := strings.Cut(host, ".")
		return found && strings.EqualFold(suffix, rest)
	}
	return strings.EqualFold(san, host)
}

// ofWhom says whose a certificate is, as far as it was read.
func ofWhom(c *envoyadmin.Certificate) string {
	var words []string
	if c.Subject != "" {
		words = append(words, "subject "+c.Subject)
	}
	if len(c.SANs) > 0 {
		words = append(words, "for "+strings.Join(c.SANs, ", "))
	}
	return orElse(strings.Join(words, ", "), "its names were not read")
}

// quoteCertificate quotes where a certificate was read.
func (q *inquiry) quoteCertificate(f *finding, n *node, c *envoyadmin.Certificate, text string) {
	if strings.HasPrefix(c.Source, "/certs") {
		q.quote(f, Config, n.facts.proxy.pod.query(AreaProxy, "certs.json"), `"`+c.Name+`"`, text)
		return
	}
	q.proof(f, Config, n.facts.proxy.pod.query(AreaProxy, configDump), n.facts.proxy.secretEntry(c.Name), c.Name)
}

// secretEntry is the beginning of the proxy's entry for a secret: its name,
// version and certificate, in PEM as the proxy holds it; never its key.
func (p *proxy) secretEntry(name string) string {
	i := bytes.LastIndex(p.data, []byte(`"name": "`+name+`"`)) // listeners name it too; secrets come last
	if i < 0 || !bytes.Contains(p.data[i:min(len(p.data), i+400)], []byte("certificate")) {
		return ""
	}
	from := bytes.LastIndexByte(p.data[:i], '\n') + 1
	entry := p.data[from:min(len(p.data), i+maxExcerpt)]
	for _, end := range []string{"private_key", "password", "session_ticket"} {
		if at := bytes.Index(entry, []byte(end)); at >= 0 {
			entry = entry[:at]
		}
	}
	end := bytes.LastIndexByte(entry, '\n')
	if end < 0 {
		return ""
	}
	return string(entry[:end])
}

// missingSecret names a certificate that the proxy waits for: the Secret does
// not exist, or lies in another namespace than the gateway.
func (q *inquiry) missingSecret(n *node, name string) {
	credential := strings.TrimPrefix(strings.TrimPrefix(name, "kubernetes://"), "kubernetes-gateway://")
	ns := n.facts.pod.ref.namespace
	if i := strings.LastIndexByte(credential, '/'); i >= 0 {
		ns, credential = credential[:i], credential[i+1:]
	}
	secrets, err := q.cluster.SecretsNamed(q.ctx, credential)
	notRead := q.refused(err)
	n.hop.settle(Fail, "the certificate "+name+" was never supplied: the handshake fails")
	detail := fmt.Sprintf("the chain's certificate %s was never supplied to %s (it is still warming)", name, n.facts.proxy.pod)
	fix := []string{fmt.Sprintf("kubectl -n %s create secret tls %s --cert=server.crt --key=server.key", ns, credential)}
	here := slices.ContainsFunc(secrets, func(s *k8s.Secret) bool { return s.Namespace == ns })
	switch {
	case notRead != nil:
		detail += "; the Secrets could not be read"
	case here:
		detail += fmt.Sprintf("; Secret %s/%s exists: look at its keys (tls.crt, tls.key) and at istiod's log", ns, credential)
		fix = []string{fmt.Sprintf("kubectl -n %s describe secret %s", ns, credential)}
	case len(secrets) > 0:
		detail += fmt.Sprintf("; Secret %s is in namespace %s and has to be in %s, where the gateway's Pods are", credential, secrets[0].Namespace, ns)
		fix = []string{fmt.Sprintf("kubectl -n %s get secret %s -o yaml | sed 's/namespace: .*/namespace: %s/' | kubectl apply -f -", secrets[0].Namespace, credential, ns)}
	default:
		detail += fmt.Sprintf("; there is no Secret %s in any namespace that was read", credential)
	}
	f := q.report(n, detail, fix...)
	proxy := n.facts.proxy.pod.query(AreaProxy, configDump)
	q.quote(f, Config, proxy, `"dynamic_warming_secrets"`, `"`+name+`"`)
	for _, s := range secrets {
		q.proof(f, Config, Query{Area: AreaCluster, File: "secrets", Select: Selector{Namespace: s.Namespace, Name: s.Name}}, pick(s.Raw, "metadata.name", "metadata.namespace", "type"), credential)
	}
	for _, g := range q.gatewaysOf(n.facts.pod) {
		for _, server := range g.Spec.GetServers() {
			if server.GetTls().GetCredentialName() == credential {
				q.written(f, &g.Meta, "servers", credential)
			}
		}
	}
}

// secretCommand is how one replaces the Secret behind an SDS name.
func (q *inquiry) secretCommand(name, namespace string) string {
	credential := strings.TrimPrefix(strings.TrimPrefix(name, "kubernetes://"), "kubernetes-gateway://")
	if i := strings.LastIndexByte(credential, '/'); i >= 0 {
		namespace, credential = credential[:i], credential[i+1:]
	}
	return fmt.Sprintf("kubectl -n %s create secret tls %s --cert=server.crt --key=server.key --dry-run=client -o yaml | kubectl apply -f -", namespace, credential)
}
