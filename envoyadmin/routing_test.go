package envoyadmin

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestHowTheRouterTreatsARequestIsTold(t *testing.T) {
	const mutations = `"request_headers_to_remove":["x-gone","x-not-there"],"request_headers_to_add":[{"header":{"key":"authorization","value":"Bearer abc"}}],"response_headers_to_add":[{"header":{"key":"x-resp","value":"%RESPONSE_CODE%"},"append_action":"OVERWRITE_IF_EXISTS_OR_ADD"},{"header":{"key":"set-cookie","value":"s=secret"}}],"response_headers_to_remove":["server"]`
	for _, tc := range []struct {
		name, action, route string
		want                string // of routing as JSON, without its braces
		words               []string
	}{
		{"the defaults", ``, ``, `"timeout":"15s"`, nil},
		{"no timeout", `"timeout":"0s"`, ``, `"timeout":"none"`, []string{"timeout none"}},
		{"limits", `"timeout":"3s","idle_timeout":"9s","max_stream_duration":{"max_stream_duration":"60s"},"priority":"HIGH"`, ``, `"timeout":"3s","idle_timeout":"9s","max_stream_duration":"1m0s","priority":"high"`, []string{"timeout 3s; idle timeout 9s; stream at most 1m0s; priority high"}},
		{"retries", `"retry_policy":{"retry_on":"5xx,reset","num_retries":3,"per_try_timeout":"0.25s"}`, ``, `"timeout":"15s","retries":3,"retry_on":"5xx,reset","per_try_timeout":"250ms"`, []string{"3 retries on 5xx,reset, each try 250ms"}},
		{"one retry where nothing says how many", `"retry_policy":{"retry_on":"5xx"}`, ``, `"timeout":"15s","retries":1,"retry_on":"5xx"`, []string{"1 retry on 5xx"}},
		{"mirrors", `"request_mirror_policies":[{"cluster":"m"},{"cluster":"n","runtime_fraction":{"default_value":{"numerator":5}}}]`, ``, `"timeout":"15s","mirrors":[{"cluster":"m","percent":100},{"cluster":"n","percent":5}]`, []string{"100 % mirrored to m", "5 % mirrored to n"}},
		{"internal redirects, by default one of 302", `"internal_redirect_policy":{}`, ``, `"timeout":"15s","internal_redirects":{"max":1,"status":[302]}`, []string{"up to 1 redirects of the upstream are followed (302)"}},
		{"internal redirects", `"internal_redirect_policy":{"max_internal_redirects":4,"redirect_response_codes":[301,307]}`, ``, `"timeout":"15s","internal_redirects":{"max":4,"status":[301,307]}`, []string{"up to 4 redirects of the upstream are followed (301 307)"}},
		{
			"header changes, without what is secret", ``, mutations,
			`"timeout":"15s","request_headers":["route removes header x-gone","route adds header authorization: (not shown)"],"response_headers":["route removes header server","route sets header x-resp: %RESPONSE_CODE%","route adds header set-cookie: (not shown)"]`,
			[]string{"route removes header x-gone", "route adds header authorization: (not shown)", "in the answer, route removes header server", "in the answer, route sets header x-resp: %RESPONSE_CODE%", "in the answer, route adds header set-cookie: (not shown)"},
		},
	} {
		d := read(t, httpDump(`"filter_chains":[{"filters":[`+hcm("")+`]}]`, `{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"a"`+prefixed(tc.action)+`}`+prefixed(tc.route)+`}]}]}`))
		o := d.Match(Call{Address: at80, Headers: []Header{{"X-Gone", "1"}}}).Outcomes[0]
		got, err := json.Marshal(o.Routing)
		if err != nil || string(got) != "{"+tc.want+"}" {
			t.Errorf("%s: %s\nwant {%s}", tc.name, got, tc.want)
		}
		if words := o.Routing.Words(); !slices.Equal(words, tc.words) {
			t.Errorf("%s: %q", tc.name, words)
		}
		if strings.Contains(string(got), "abc") || strings.Contains(string(got), "secret") {
			t.Errorf("%s: a secret is told: %s", tc.name, got)
		}
	}
	var none *Routing
	if none.Words() != nil {
		t.Error("words of nothing")
	}
}
