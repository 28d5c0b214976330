package envoyadmin

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func unzipped(tb testing.TB, path string) []byte {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		tb.Fatal(path, err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(path, err)
	}
	return out
}

func TestCallsToAThousandServicesGoWhereTheirConfigurationSays(t *testing.T) {
	for _, name := range []string{"gateway", "sidecar"} {
		d, err := Read(name, unzipped(t, corpus+"/scale/"+name+"-1000.config_dump.json.gz"))
		if err != nil {
			t.Fatal(err)
		}
		var cases []struct {
			Name string  `json:"name"`
			Call simCall `json:"call"`
			Want struct {
				Error, Action, Cluster, Route, Weighted string
			} `json:"want"`
		}
		if err := json.Unmarshal(unzipped(t, corpus+"/scale/"+name+"-1000.cases.json.gz"), &cases); err != nil {
			t.Fatal(err)
		}
		for _, c := range cases {
			if c.Call.Address == "" {
				c.Call.Address = "1.3.3.7"
			}
			if c.Call.TLS == "tls" && c.Call.SNI == "" {
				c.Call.SNI = c.Call.HostHeader
			}
			if c.Call.TLS == "mtls" {
				c.Call.ALPN = "istio-http/1.1"
			}
			res := d.Match(c.Call.call(""))
			o := res.Outcomes[0]
			if c.Want.Weighted != "" {
				var got []string
				for _, w := range o.Weighted {
					got = append(got, fmt.Sprintf("%s=%d", w.Name, w.Weight))
				}
				total := 0.0
				for _, o := range res.Outcomes {
					total += o.Probability
				}
				if strings.Join(got, ",") != c.Want.Weighted || o.Route != c.Want.Route || len(res.Outcomes) != len(got) || total < 0.999 || total > 1.001 {
					t.Errorf("%s: %d outcomes, route %s, weighted %v (sum %g), want %+v", c.Name, len(res.Outcomes), o.Route, got, total, c.Want)
				}
				continue
			}
			verdict := Forward
			switch {
			case c.Want.Error != "":
				verdict = Reject
			case c.Want.Action == "redirect":
				verdict = Redirect
			}
			if c.Want.Route == "" {
				o.Route = ""
			}
			if len(res.Outcomes) != 1 || o.Verdict != verdict || o.Error != simErrors[c.Want.Error] || o.Cluster != c.Want.Cluster || o.Route != c.Want.Route {
				t.Errorf("%s: %d outcomes; %s %s cluster %q route %q reasons %v; want %+v", c.Name, len(res.Outcomes), o.Verdict, o.Error, o.Cluster, o.Route, o.Reasons, c.Want)
			}
		}
		t.Logf("%s: %d calls", name, len(cases))
	}
}
