package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/hoptrail/hoptrail/trace"
)

// zone is a name server that answers from records. A name without any is
// NXDOMAIN; what of says "NAME TYPE" or "NAME" of fails with that code, 0 of it
// does not answer at all.
func zone(t *testing.T, server string, of map[string]int, records ...string) asker {
	t.Helper()
	var all []dns.RR
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return asker{server, func(_ context.Context, m *dns.Msg) (*dns.Msg, error) {
		q := m.Question[0]
		reply := new(dns.Msg).SetReply(m)
		for _, key := range []string{q.Name + " " + dns.TypeToString[q.Qtype], q.Name, ""} {
			if code, ok := of[key]; ok && code == 0 {
				return nil, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
			} else if ok {
				reply.Rcode = code
				return reply, nil
			}
		}
		known := false
		for _, rr := range all {
			if !strings.EqualFold(rr.Header().Name, q.Name) {
				continue
			}
			known = true
			if rr.Header().Rrtype == q.Qtype || rr.Header().Rrtype == dns.TypeCNAME {
				reply.Answer = append(reply.Answer, rr)
			}
		}
		if !known {
			reply.Rcode = dns.RcodeNameError
		}
		return reply, nil
	}}
}

// TestWhatNameServersSayIsKeptApart: that there is no such name, that a server
// cannot answer, and that none answers are three things, and what one type of
// records has is not lost for the failure of another.
func TestWhatNameServersSayIsKeptApart(t *testing.T) {
	fails := map[string]int{
		"half.test. AAAA": dns.RcodeServerFailure, "late.test. AAAA": 0, "broken.test.": dns.RcodeServerFailure, "silent.test.": 0,
		"web.broken.search.": dns.RcodeServerFailure, "gone.broken.search.": dns.RcodeServerFailure,
	}
	records := []string{
		"half.test. 5 IN A 192.0.2.1", "late.test. 5 IN A 192.0.2.2", "web.good.search. 5 IN A 192.0.2.3", "text.test. 5 IN TXT x",
		"www.test. 5 IN CNAME old.test.", "old.test. 5 IN CNAME dead.test.",
		"a.test. 5 IN CNAME b.test.", "b.test. 5 IN CNAME c.test.", "c.test. 5 IN CNAME a.test.", "self.test. 5 IN CNAME self.test.",
	}
	for _, c := range []struct {
		name, host string
		names      []string // nil: the host alone
		want       string   // the answers, or
		err        string
	}{
		{"A, and SERVFAIL for AAAA", "half.test", nil, "half.test. A 192.0.2.1; half.test. AAAA !SERVFAIL", ""},
		{"A, and no answer for AAAA", "late.test", nil, "late.test. A 192.0.2.2; late.test. AAAA !not answered", ""},
		{"SERVFAIL", "broken.test", nil, "", "S answered SERVFAIL for broken.test."},
		{"no answer", "silent.test", nil, "", "name server S: read: i/o timeout"},
		{"NXDOMAIN", "none.test", nil, "none.test. A !NXDOMAIN", ""},
		{"a name without addresses", "text.test", nil, "text.test. A !no such record", ""},
		{"a chain that ends nowhere", "www.test", nil, "www.test. CNAME old.test.; old.test. CNAME dead.test.; dead.test. A !NXDOMAIN", ""},
		{"CNAMEs in a circle", "a.test", nil, "a.test. CNAME b.test.; b.test. CNAME c.test.; c.test. CNAME a.test.; a.test. A !the CNAMEs go in a circle", ""},
		{"a CNAME to itself", "self.test", nil, "self.test. CNAME self.test.; self.test. A !the CNAMEs go in a circle", ""},
		{"SERVFAIL for one name of the search path", "web", []string{"web.broken.search.", "web.good.search.", "web."}, "web. CNAME web.good.search.; web.good.search. A 192.0.2.3", ""},
		{"SERVFAIL for one, and no other is there", "gone", []string{"gone.broken.search.", "gone.good.search.", "gone."}, "", "S answered SERVFAIL for gone.broken.search."},
		{"no name of the search path is there", "none", []string{"none.good.search.", "none."}, "none. A !NXDOMAIN", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := c.names
			if names == nil {
				names = []string{dns.Fqdn(c.host)}
			}
			answers, err := search(t.Context(), []asker{zone(t, "S", fails, records...)}, c.host, names, []uint16{dns.TypeA, dns.TypeAAAA})
			var got []string
			for _, a := range answers {
				says := strings.Join(a.Values, ",")
				if a.Error != "" {
					says += "!" + a.Error
				}
				got = append(got, fmt.Sprintf("%s %s %s", a.Name, a.Type, says))
			}
			if strings.Join(got, "; ") != c.want || (err == nil) != (c.err == "") || err != nil && !strings.HasPrefix(err.Error(), c.err) {
				t.Errorf("%s, %v; want %s%s", strings.Join(got, "; "), err, c.want, c.err)
			}
		})
	}
}

// TestTheServerThatAnswersIsAskedFirstFromThenOn: each is sent the question as it
// is, whatever another one made of it.
func TestTheServerThatAnswersIsAskedFirstFromThenOn(t *testing.T) {
	var asked []string
	count := func(a asker) asker {
		return asker{a.server, func(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
			if len(m.Extra) > 0 {
				t.Errorf("%s gets what was made for another: %v", a.server, m.Extra)
			}
			m.SetEdns0(1232, false)
			asked = append(asked, a.server)
			return a.ask(ctx, m)
		}}
	}
	refuses := zone(t, "refuses", map[string]int{"": dns.RcodeRefused})
	dead := asker{"dead", func(context.Context, *dns.Msg) (*dns.Msg, error) { return nil, errors.New("connection refused") }}
	answers, err := search(t.Context(), []asker{count(dead), count(refuses), count(zone(t, "good", nil, "x.test. 5 IN A 192.0.2.1"))}, "x.test", []string{"x.test."}, []uint16{dns.TypeA, dns.TypeAAAA})
	if err != nil || len(answers) != 1 || answers[0].Server != "good" || strings.Join(asked, " ") != "dead refuses good good" {
		t.Errorf("asked %q; %+v, %v", asked, answers, err)
	}
}

func TestAPodsHostAliasesGoBeforeDNS(t *testing.T) {
	f := newFake(t)
	f.pod("shop", "p", `"spec":{"hostAliases":[{"ip":"192.0.2.7","hostnames":["x","legacy.test"]},{"ip":"2001:db8::7","hostnames":["Legacy.test"]}],"containers":[{"name":"app"}]},"status":{"phase":"Running"}`)
	got := string(mustAsk(t, f.source(Options{}), trace.Query{Area: trace.AreaDNS, Name: "legacy.test", From: "pod:shop/p"}).Data)
	want := `{"answers":[{"name":"legacy.test.","type":"A","ttl":0,"values":["192.0.2.7"],"server":"hostAliases of Pod shop/p"},{"name":"legacy.test.","type":"AAAA","ttl":0,"values":["2001:db8::7"],"server":"hostAliases of Pod shop/p"}]}`
	if got != want {
		t.Errorf("got %s", got)
	}
}
