package k8s

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func names(items []RawItem) string {
	var out []string
	for _, it := range items {
		out = append(out, it.APIVersion+" "+it.Kind+" "+it.Namespace+"/"+it.Name+" "+it.UID)
	}
	return strings.Join(out, "; ")
}

func TestAListIsSplitHoweverItIsPrinted(t *testing.T) {
	const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"1"}}`
	for _, c := range []struct{ name, in, want string }{
		{"a List", `{"apiVersion":"v1","kind":"List","items":[` + pod + `]}`, "v1 Pod n/p 1"},
		{"items before the kind", `{"items":[{"metadata":{"name":"p"}}],"kind":"PodList","apiVersion":"v1"}`, "v1 Pod /p "},
		{"a typed list, as the API gives it", `{"kind":"VirtualServiceList","apiVersion":"networking.istio.io/v1","items":[{"metadata":{"name":"v","namespace":"n"}}]}`, "networking.istio.io/v1 VirtualService n/v "},
		{"several kinds", `{"kind":"List","items":[` + pod + `,{"apiVersion":"v1","kind":"Service","metadata":{"name":"s"}}]}`, "v1 Pod n/p 1; v1 Service /s "},
		{"one object", pod, "v1 Pod n/p 1"},
		{"an array", "[" + pod + "]", "v1 Pod n/p 1"},
		{"an empty list", `{"kind":"List","items":[]}`, ""},
		{"a list of null", `{"kind":"PodList","items":null}`, ""},
		{"a list without items", `{"kind":"PodList"}`, ""},
		{"a byte order mark and CRLF", "\xef\xbb\xbf{\r\n\"kind\":\"List\",\r\n\"items\":[" + pod + "]}\r\n", "v1 Pod n/p 1"},
		{"names with escapes", `{"kind":"Pod","metadata":{"name":"a\u002db","namespace":"\"q\""}}`, ` Pod "q"/a-b `},
		{"names that are no text", `{"kind":"Pod","metadata":{"name":7,"namespace":null,"labels":[1]}}`, " Pod / "},
		{"YAML as kubectl prints it", "apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: p\n    namespace: \"n\"\n    annotations:\n      a: |\n        - not an item\n        kind: List\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: q\nkind: List\nmetadata:\n  resourceVersion: \"\"\n", "v1 Pod n/p ; v1 Pod /q "},
		{"YAML with dashes of their own", "kind: List\nitems:\n-\n  kind: Pod\n  metadata: {name: p}\n# a comment\n-\n  kind: Pod\n  metadata: {name: q}\n", " Pod /p ;  Pod /q "},
		{"YAML with indented items", "kind: List\nitems:\n  - kind: Pod\n    metadata: {name: p}\n", " Pod /p "},
		{"YAML documents", "---\nkind: Pod\nmetadata: {name: p}\n---\n# nothing\n---\nkind: Service\nmetadata: {name: s}\n", " Pod /p ;  Service /s "},
		{"a typed list in YAML", "apiVersion: v1\nkind: PodList\nitems:\n- metadata:\n    name: p\n", "v1 Pod /p "},
	} {
		items, err := Items([]byte(c.in))
		if got := names(items); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
		for _, it := range items {
			if !json.Valid(it.Raw) {
				t.Errorf("%s: %s", c.name, it.Raw)
			}
		}
	}
}

func TestABrokenListSaysWhere(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ":1:1: empty"},
		{" \n ", ":1:1: empty"},
		{"null\n", ":1:1: null"},
		{"\xff\xfea", ":1:1: UTF-16"},
		{"{\n \"kind\": \"List\",\n \"items\": [\n  {\"kind\": \"Pod\"\n   \"metadata\": {}}]}", `:5:4: broken JSON: a comma or the end of the object expected, not '"'`},
		{`{"kind":"List","items":[{"metadata":{"name":"a"`, ":1:48: broken JSON: cut off in the middle: a comma or the end of the object expected"},
		{`{"kind":"List","items":[{"metadata":{"name":"a`, ":1:47: broken JSON: cut off in the middle of a string"},
		{`{"kind":"List","items":[7]}`, ":1:25: broken JSON: an object expected, not '7'"},
		{`{"kind":"List","items":{}}`, ":1:24: broken JSON: an array of items expected, not '{'"},
		{`{"kind":"List","items":[]} x`, ":1:28: broken JSON: the end expected, not 'x'"},
		{`{"a":1}`, ":1:1: broken JSON: neither a list nor an object"},
		{`{"kind":"Status","status":"Failure"}`, ":1:1: broken JSON: an error answer of the API server"},
		{`{"kind":"List","items":[{"a":` + strings.Repeat("[", 600), "nested more than"},
		{"kind: List\nitems:\n- kind: Pod\n  a: b: c\n", ":4:1: broken YAML"},
		{"kind: b\n---\nc: [\n", ":3:1: broken"},
		{"just words", ":1:1: not a list of objects"},
	} {
		_, err := Items([]byte(c.in))
		var de *DecodeError
		if !errors.As(err, &de) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %v, want %q", c.in, err, c.want)
		}
	}
}

func TestManagedFieldsAreLeftOut(t *testing.T) {
	for in, want := range map[string]string{
		`{"metadata":{"name":"a","managedFields":[{"x":1}],"uid":"u"},"spec":{}}`: `{"metadata":{"name":"a","uid":"u"},"spec":{}}`,
		`{"metadata":{"managedFields":[{"x":1}],"name":"a"}}`:                     `{"metadata":{"name":"a"}}`,
		`{"metadata":{"name":"a", "managedFields" : [{"x":1}] }}`:                 `{"metadata":{"name":"a" }}`,
		`{"metadata":{"managedFields":[]}}`:                                       `{"metadata":{}}`,
		`{"metadata":{"name":"a"},"spec":{"managedFields":1}}`:                    `{"metadata":{"name":"a"},"spec":{"managedFields":1}}`,
		`{"metadata":null}`: `{"metadata":null}`,
	} {
		if got := string(withoutManagedFields([]byte(in))); got != want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzItems(f *testing.F) {
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","metadata":{"name":"p","labels":{"a":"b"}},"spec":{"clusterIP":"10.0.0.1","ports":[{"nodePort":3e4}]},"status":{"podIPs":[{"ip":"::1"}]}}]}`))
	f.Add([]byte("apiVersion: v1\nitems:\n- kind: Pod\n  metadata:\n    name: p\nkind: List\n"))
	f.Add([]byte("---\na: &x [*x]\n"))
	f.Add([]byte(`{"metadata":{"name":"a\"b","managedFields":[]},"kind":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<14 {
			return
		}
		items, err := Items(data)
		var de *DecodeError
		if err != nil && !errors.As(err, &de) {
			t.Fatalf("%v", err)
		}
		if err != nil && (de.Line < 1 || de.Column < 1) {
			t.Fatalf("no place: %+v", de)
		}
		if json.Valid(data) {
			if err != nil && strings.Contains(err.Error(), "cut off") {
				t.Fatalf("%q: %v", data, err)
			}
			for _, it := range items {
				var doc struct {
					Metadata struct{ Name any }
				}
				if err := json.Unmarshal(it.Raw, &doc); err == nil {
					if s, ok := doc.Metadata.Name.(string); ok && s != it.Name && !bytes.Contains(it.Raw, []byte(`ame"`)) {
						t.Fatalf("%s: name %q, not %q", it.Raw, it.Name, s)
					}
				}
				var a, b any
				clean := withoutManagedFields(it.Raw)
				if json.Unmarshal(it.Raw, &a) != nil || json.Unmarshal(clean, &b) != nil {
					t.Fatalf("%q became %q", it.Raw, clean)
				}
				if !bytes.Contains(it.Raw, []byte("anagedFields")) && !bytes.Contains(it.Raw, []byte(`\u`)) && !reflect.DeepEqual(a, b) {
					t.Fatalf("%q became %q", it.Raw, clean)
				}
			}
		}
		// Whatever the items are, decoding them ends.
		for _, r := range []string{pods, services, virtualServices, "secrets"} {
			l, err := newList(r, data)
			if err != nil {
				continue
			}
			_, _ = every(l, decodePod, nil)
		}
	})
}

// cluster makes the lists of a large cluster.
func cluster(nSvc, nPod int) files {
	var svcs, ps, ns bytes.Buffer
	head := `{"apiVersion":"v1","kind":"List","metadata":{"resourceVersion":""},"items":[`
	svcs.WriteString(head)
	for i := range nSvc {
		if i > 0 {
			svcs.WriteByte(',')
		}
		fmt.Fprintf(&svcs, `{"apiVersion":"v1","kind":"Service","metadata":{"name":"svc-%d","namespace":"ns-%d","uid":"s-%d","labels":{"app":"a-%d"},"creationTimestamp":"2026-11-20T15:58:17Z"},"spec":{"clusterIP":"10.96.%d.%d","clusterIPs":["10.96.%d.%d"],"type":"NodePort","selector":{"app":"a-%d"},"ports":[{"name":"http","port":80,"protocol":"TCP","targetPort":8080,"nodePort":%d}]},"status":{"loadBalancer":{"ingress":[{"ip":"172.16.%d.%d"}]}}}`,
			i, i%50, i, i, i/250, i%250, i/250, i%250, i, 30000+i, i/250, i%250)
	}
	svcs.WriteString("]}")
	env := strings.Repeat(`{"name":"SOME_VARIABLE","valueFrom":{"fieldRef":{"apiVersion":"v1","fieldPath":"metadata.namespace"}}},`, 40)
	ps.WriteString(head)
	for i := range nPod {
		if i > 0 {
			ps.WriteByte(',')
		}
		fmt.Fprintf(&ps, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"pod-%d","namespace":"ns-%d","uid":"p-%d","labels":{"app":"a-%d","pod-template-hash":"%d"},"annotations":{"a":"b \"quoted\" text"}},"spec":{"nodeName":"node-%d","containers":[{"name":"app","image":"app:1","env":[%s{"name":"X","value":"y"}],"ports":[{"containerPort":8080,"name":"http"}]}],"volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]},"status":{"phase":"Running","hostIP":"192.168.1.%d","podIP":"10.%d.%d.%d","podIPs":[{"ip":"10.%d.%d.%d"}],"conditions":[{"type":"Ready","status":"True"}]}}`,
			i, i%50, i, i%nSvc, i, i%100, env, 1+i%100, 100+i/62500, i/250%250, i%250, 100+i/62500, i/250%250, i%250)
	}
	ps.WriteString("]}")
	ns.WriteString(head)
	for i := range 100 {
		if i > 0 {
			ns.WriteByte(',')
		}
		fmt.Fprintf(&ns, `{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-%d"},"spec":{"podCIDR":"10.100.%d.0/24"},"status":{"addresses":[{"type":"InternalIP","address":"192.168.1.%d"}]}}`, i, i, 1+i)
	}
	ns.WriteString("]}")
	return files{services: svcs.Bytes(), pods: ps.Bytes(), nodes: ns.Bytes()}
}
