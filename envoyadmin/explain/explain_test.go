package explain

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryWordOfTheReferenceIsExplained(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "accesslog", "reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		Flags []struct {
			Short, Long string
		} `json:"response_flags"`
		Details map[string]string `json:"response_code_details"`
		Codecs  map[string]string `json:"codec_details"`
		Filters map[string]string `json:"filter_details"`
		HCM     map[string]string `json:"hcm_validation_details"`
		Closes  map[string]string `json:"local_close_reasons"`
		Resets  []struct {
			Text, Flag string
		} `json:"reset_reasons"`
		Operators map[string]struct{} `json:"operators"`
	}
	if err := json.Unmarshal(b, &ref); err != nil {
		t.Fatal(err)
	}
	if len(ref.Flags) != len(flags) {
		t.Errorf("%d flags are explained, the reference has %d", len(flags), len(ref.Flags))
	}
	for _, f := range ref.Flags {
		if it, ok := Lookup(f.Short); !ok || it.Kind != Flag || it.Name != f.Long {
			t.Errorf("flag %s: %v, %+v", f.Short, ok, it)
		}
		if it, ok := Lookup(f.Long); !ok || it.Word != f.Short {
			t.Errorf("flag %s: %v, %+v", f.Long, ok, it)
		}
		if _, ok := LookupFlag(f.Short); !ok {
			t.Errorf("flag %s is not found as a flag", f.Short)
		}
	}
	for operator := range ref.Operators {
		if it, ok := Lookup(operator); !ok || it.Kind != Operator {
			t.Errorf("operator %s: %v, %+v", operator, ok, it)
		}
	}
	if len(ref.Operators) != 136 {
		t.Errorf("%d operators in the reference, want 136", len(ref.Operators))
	}
	n := 0
	for _, list := range []map[string]string{ref.Details, ref.Codecs, ref.Filters, ref.HCM} {
		for word := range list {
			n++
			if it, ok := LookupDetail(word); !ok || it.Kind != Detail || it.Meaning == "" {
				t.Errorf("detail %s: %v, %+v", word, ok, it)
			}
		}
	}
	if n < 120 {
		t.Errorf("%d details in the reference, want 120 or more", n)
	}
	for _, reason := range ref.Closes {
		for _, word := range []string{reason, "downstream_local_disconnect(" + reason + ")"} {
			it, ok := LookupDetail(word)
			if !ok || strings.Contains(word, "(") && len(it.Parts) != 1 {
				t.Errorf("%s: %v, %+v", word, ok, it)
			}
		}
	}
	for _, r := range ref.Resets {
		for _, word := range []string{
			"upstream_reset_before_response_started{" + r.Text + "}",
			"upstream_reset_after_response_started{" + strings.ReplaceAll(r.Text, " ", "_") + "|x}",
		} {
			it, ok := LookupDetail(word)
			if !ok || len(it.Parts) != 1 || it.Parts[0].Kind != Reset || !strings.HasPrefix(it.Parts[0].Meaning, r.Flag+":") {
				t.Errorf("%s: %v, %+v; want the flag %s", word, ok, it, r.Flag)
			}
		}
	}
}

func TestItemsAreWholeAndTheirCodesHavePages(t *testing.T) {
	code := regexp.MustCompile(`^HT\d{4}$`)
	seen := map[string]bool{}
	for _, it := range All() {
		key := strings.ToLower(it.Word) // whatever its kind: a word is looked up alone
		if seen[key] {
			t.Errorf("%s stands twice", key)
		}
		seen[key] = true
		if it.Word == "" || it.Kind == "" || !strings.HasSuffix(it.Meaning, ".") {
			t.Errorf("%s: meaning %q", key, it.Meaning)
		}
		if it.Kind == Flag && (len(it.Look) == 0 || it.Name == "") {
			t.Errorf("%s says not what to look at", key)
		}
		for _, c := range it.Codes {
			if !code.MatchString(c) {
				t.Errorf("%s: code %q", key, c)
			}
			if _, err := os.Stat(filepath.Join("..", "..", "docs", "findings", c+".md")); err != nil {
				t.Errorf("%s: %s has no page", key, c)
			}
		}
		for _, s := range slices.Concat([]string{it.Meaning}, it.Causes, it.Look) {
			if s == "" || strings.TrimSpace(s) != s || strings.Contains(s, "  ") {
				t.Errorf("%s: %q", key, s)
			}
		}
	}
	for alias, word := range aliases {
		if _, ok := dictionary().byWord[strings.ToLower(word)]; !ok {
			t.Errorf("%s stands for %s, which is no word", alias, word)
		}
	}
	for _, it := range transports {
		if signs[it.Word] == "" {
			t.Errorf("%s has no sign", it.Word)
		}
	}
}

func TestWordsAsPeoplePasteThem(t *testing.T) {
	for _, c := range []struct{ word, meaning, part string }{
		{"nr", "no virtual host or no route matched", ""},
		{" UF ", "no connection to the upstream host", ""},
		{"rbac_access_denied_matched_policy[none]", "denied it", "No ALLOW policy matched"},
		{"rbac_access_denied_matched_policy[ns[foo]-policy[httpbin]-rule[0]]", "denied it", "Rule 0 (counted from 0) of AuthorizationPolicy httpbin in namespace foo"},
		{"upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}", "before the headers", "refused the connection"},
		{"upstream_reset_before_response_started{connection failure,TLS error: 268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED}", "before the headers", "does not accept the peer's certificate"},
		{"jwt_authn_access_denied{Jwt_is_expired}", "refused the token", ""},
		{"ext_proc_error_timeout", "external processor failed", ""},
		{"http1.something_new", "HTTP/1 codec", ""},
		{"TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end", "speaks plaintext", ""},
		{"delayed_connect_error:_Connection_refused", "nothing listens", ""},
		{"delayed connect error: 113", "no way to the address", ""},
		{"outbound|8080|v1|my-backend.default.svc.cluster.local", "port 8080 of my-backend.default.svc.cluster.local, subset v1", ""},
		{"outbound_.80_._.simple.simple.svc.cluster.local", "port 80 of simple.simple.svc.cluster.local. In this form it is the SNI", ""},
		{"inbound|80||", "own application on port 80", ""},
		{"KUBE-SVC-TCOU7JCQXEZGVUNU", "one port of one Service", ""},
		{"KUBE-SEP-ABCDEF", "one endpoint", ""},
		{"KUBE-XLB-ABCDEF", "from outside", ""},
		{"KUBE-EXT-ABCDEF", "from outside", ""},
		{"KUBE-MARK-MASQ", "mark 0x4000", ""},
		{"spiffe://cluster.local/ns/bookinfo/sa/reviews", "service account reviews in namespace bookinfo", ""},
		{"0.0.0.0_8080", "listener on address 0.0.0.0, port 8080", ""},
		{"http.8080", "route table of a gateway's HTTP listener on port 8080", ""},
		{"%REQUEST_HEADER(X-REQUEST-ID?X):36%", "A request header", ""},
		{"upstream_host", "endpoint that was chosen", ""},
		{"blackholecluster", "without hosts", ""},
		{"15006", "inbound capture port", ""},
		{"STRICT", "what a server accepts", ""},
	} {
		t.Run(c.word, func(t *testing.T) {
			it, ok := Lookup(c.word)
			if !ok || !strings.Contains(it.Meaning, c.meaning) {
				t.Fatalf("%v %q", ok, it.Meaning)
			}
			if c.part != "" && !slices.ContainsFunc(it.Parts, func(p Item) bool { return strings.Contains(p.Meaning, c.part) }) {
				t.Errorf("parts are %+v", it.Parts)
			}
		})
	}
	for _, word := range []string{"", "nonsense", "UFX", "outbound|x", "KUBE-", strings.Repeat("x", maxWord+1), "{", "HT4001"} {
		if it, ok := Lookup(word); ok {
			t.Errorf("%.40q is explained as %s", word, it.Word)
		}
	}
}

func TestNearestWordsOfAMisspeltOne(t *testing.T) {
	for _, c := range []struct{ word, want string }{
		{"route_not_fond", "route_not_found"},
		{"BlackholeClustr", "BlackHoleCluster"},
		{"KUBE-MARKMASQ", "KUBE-MARK-MASQ"},
		{"UAX", "UAEX"},
		{"passthrough", "PassthroughCluster"},
		{"HT401", "HT4001"},
	} {
		if got := Nearest(c.word, 3, "HT4001", "HT9002"); !slices.Contains(got, c.want) {
			t.Errorf("%s: %v, want %s among them", c.word, got, c.want)
		}
	}
	if got := Nearest("qqqqqqqqqq", 5); len(got) != 0 {
		t.Errorf("nonsense is near to %v", got)
	}
	if got := Nearest("kube", 3); len(got) != 3 {
		t.Errorf("got %v, want 3 words", got)
	}
}

func FuzzLookup(f *testing.F) {
	for _, w := range []string{"NR", "rbac_access_denied_matched_policy[ns[foo]-policy[x]-rule[0]]", "outbound|80||a", "KUBE-SVC-X", "spiffe://a/ns/b/sa/c", "a_80"} {
		f.Add(w)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if it, ok := Lookup(word); ok && (it.Word == "" || it.Meaning == "") {
			t.Fatalf("%q is explained by nothing: %+v", word, it)
		}
		Nearest(word, 3)
	})
}
