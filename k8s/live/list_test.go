package live

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestSplitListKeepsObjectsAndDropsWhatIsNotForASnapshot(t *testing.T) {
	for _, c := range []struct {
		name, in string
		secret   bool
		want     []string
		cont     string
	}{
		{
			"items get their kind", `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}`, false,
			[]string{`{"metadata":{"name":"a"},"apiVersion":"v1","kind":"Pod"}`},
			"",
		},
		{
			"items keep their kind", `{"kind":"GatewayList","apiVersion":"networking.istio.io/v1","items":[{"apiVersion":"networking.istio.io/v1","kind":"Gateway","spec":{}}]}`, false,
			[]string{`{"apiVersion":"networking.istio.io/v1","kind":"Gateway","spec":{}}`},
			"",
		},
		{
			"managedFields go", `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a","managedFields":[{"f:x":{}}],"labels":{"managedFields":"kept"}}}]}`, false,
			[]string{`{"metadata":{"name":"a","labels":{"managedFields":"kept"}},"apiVersion":"v1","kind":"Pod"}`},
			"",
		},
		{"the next page", `{ "kind" : "PodList" , "apiVersion":"v1", "metadata":{"continue":"a\"b"}, "items": null }`, false, nil, `a"b`},
		{
			"a Secret keeps no value", `{"kind":"SecretList","apiVersion":"v1","items":[{"metadata":{"name":"s","annotations":{"last-applied":"{\"data\":{\"tls.key\":\"S\"}}"}},"data":{"tls.crt":"S","tls.key":"S"},"stringData":{"p":"S"},"type":"kubernetes.io/tls"}]}`, true,
			[]string{`{"metadata":{"name":"s"},"data":{"tls.crt":"REDACTED","tls.key":"REDACTED"},"stringData":{"p":"REDACTED"},"type":"kubernetes.io/tls","apiVersion":"v1","kind":"Secret"}`},
			"",
		},
		{
			"keys that need quoting stay", `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"managedFields":[],"a\u0007\"\\":1}}]}`, false,
			[]string{`{"metadata":{"a\u0007\"\\":1},"apiVersion":"v1","kind":"Pod"}`},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			items, cont, err := splitList([]byte(c.in), c.secret)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, it := range items {
				got = append(got, string(it.data))
			}
			if !reflect.DeepEqual(got, c.want) || cont != c.cont {
				t.Errorf("got %q, %q", got, cont)
			}
		})
	}
}

func TestSplitListRefusesWhatIsBroken(t *testing.T) {
	for _, in := range []string{
		``, `[]`, `{`, `{"kind":"PodList"`, `{"kind":"PodList","items":[}`, `{"kind":"PodList","items":[{"a":1]}`, `{"kind":"PodList","items":[{},]}`,
		`{"kind":"PodList","items":{}}`, `{"kind":"Pod"}`, `{"kind":"PodList"} x`, `{"kind":"PodList",}`, `{"kind":"PodList","items":[1]}`, `{"kind":"PodList","x":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`,
	} {
		if _, _, err := splitList([]byte(in), false); !errors.Is(err, errJSON) {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

// FuzzSplitList holds the scanner against encoding/json: what one takes, and
// what it sees in it, the other does too.
func FuzzSplitList(f *testing.F) {
	f.Add([]byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"x"},"items":[{"metadata":{"name":"a","managedFields":[1,{"b":"]"}]},"spec":{"s":"\"}\\"}}]}`))
	f.Add([]byte(`{"kind":"SecretList","items":[{"data":{"a":"b"}}]}`))
	f.Add([]byte(`{"kind":"PodList","items":[{},{"kind":"x"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		items, _, err := splitList(data, true)
		if err != nil {
			return
		}
		var list struct{ Items []json.RawMessage }
		if !json.Valid(data) || json.Unmarshal(data, &list) != nil {
			return // numbers and escapes are not checked here, but where they are used
		}
		if seen := duplicate(data); seen {
			return
		}
		if len(items) != len(list.Items) {
			t.Fatalf("%d items, encoding/json sees %d", len(items), len(list.Items))
		}
		if !json.Valid(joinItems(items)) {
			t.Fatalf("valid JSON became invalid: %s", joinItems(items))
		}
	})
}

// duplicate says whether the object spells items more than once, which
// encoding/json joins and folds by case in its own way.
func duplicate(data []byte) bool {
	n := 0
	members(data, func(m member) error {
		if strings.EqualFold(m.key, "items") {
			n++
		}
		return nil
	})
	return n != 1
}

func BenchmarkSplitListOf500Pods(b *testing.B) {
	item := `{"metadata":{"name":"pod","namespace":"ns","managedFields":[{"manager":"kubelet","fieldsV1":{"f:status":{"f:conditions":{}}}}],"labels":{"app":"x"}},"spec":{"containers":[{"name":"c","image":"i","env":[{"name":"A","value":"` + strings.Repeat("v", 3000) + `"}]}]},"status":{"phase":"Running"}}`
	data := []byte(`{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` + strings.Repeat(item+",", 499) + item + `]}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := splitList(data, false); err != nil {
			b.Fatal(err)
		}
	}
}
