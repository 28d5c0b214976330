package scale

import (
	"encoding/json"
	"testing"
)

func TestWhatBelongsToOneServiceIsRepeatedWithAnotherNumber(t *testing.T) {
	const in = `{"a":"svc-00001","list":[ {"n":"svc-00007","also":"secure-00007"}, {"n":"none"}, {"n":"svc-00008","x":[1]} ],
 "tables":[{"hosts":[{"n":"svc-00001"},{"n":"svc-00002"}]},{"hosts":[]}]}`
	const want = `{"a":"svc-00001","list":[{"n":"svc-00007","also":"secure-00007"},{"n":"none"},{"n":"svc-00008","x":[1]},{"n":"svc-01007","also":"secure-01007"},{"n":"svc-01008","x":[1]},{"n":"svc-02007","also":"secure-02007"},{"n":"svc-02008","x":[1]}],"tables":[{"hosts":[{"n":"svc-00001"},{"n":"svc-00002"},{"n":"svc-01001"},{"n":"svc-01002"},{"n":"svc-02001"},{"n":"svc-02002"}]},{"hosts":[]}]}`
	out, err := Grow([]byte(in), 3)
	if err != nil {
		t.Fatal(err)
	}
	var got, expected any
	if json.Unmarshal(out, &got) != nil || json.Unmarshal([]byte(want), &expected) != nil {
		t.Fatalf("%s", out)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(expected)
	if string(a) != string(b) {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	if out, err = Grow([]byte(in), 1); err != nil || string(out) != in {
		t.Errorf("once: %s %v", out, err)
	}
	for _, bad := range []struct {
		in    string
		times int
	}{{in, 0}, {in, 100}, {`{"a":[`, 2}, {"", 2}} {
		if _, err := Grow([]byte(bad.in), bad.times); err == nil {
			t.Errorf("%q %d times: no error", bad.in, bad.times)
		}
	}
}
