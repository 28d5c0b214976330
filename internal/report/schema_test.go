package report

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hoptrail/hoptrail/internal/contract"
	"github.com/hoptrail/hoptrail/trace"
)

//go:generate go test -run TestTheSchemaIsThatOfTheStructs -update

const schemaFile = "../../docs/report.v1.schema.json"

// The committed schema is generated from the structs; `go generate ./...`
// writes it anew, but not without something that was promised.
func TestTheSchemaIsThatOfTheStructs(t *testing.T) {
	got := schemaOf(t)
	committed, err := os.ReadFile(schemaFile)
	if err == nil {
		for _, broken := range breaking(t, committed, got) {
			t.Errorf("the contract only grows: %s", broken)
		}
	}
	if t.Failed() {
		return
	}
	golden(t, schemaFile, got)
}

func TestEverySampleKeepsToTheSchema(t *testing.T) {
	schema := compileStrict(t)
	for name, r := range samples(t) {
		t.Run(name, func(t *testing.T) { validate(t, schema, []byte(String(r, JSON))) })
	}
	t.Run("empty", func(t *testing.T) {
		empty := &trace.Report{Target: trace.Target{Scheme: "tcp"}, Hops: []trace.Hop{{Kind: trace.KindApp}}}
		validate(t, schema, []byte(String(empty, JSON)))
	})
}

func TestTheSchemaRejectsWhatIsNoReport(t *testing.T) {
	schema := compileStrict(t)
	for name, change := range map[string]func(map[string]any){
		"a verdict that is none":    func(m map[string]any) { m["verdict"] = "fine" },
		"hops that are absent":      func(m map[string]any) { delete(m, "hops") },
		"findings that are null":    func(m map[string]any) { m["findings"] = nil },
		"a kind of hop that is new": func(m map[string]any) { m["hops"].([]any)[0].(map[string]any)["kind"] = "teapot" },
		"a field that is unknown":   func(m map[string]any) { m["verdikt"] = "x" },
		"another schema":            func(m map[string]any) { m["schema"] = "hoptrail.report/v2" },
		"a probability above 1":     func(m map[string]any) { m["paths"].([]any)[0].(map[string]any)["probability"] = 1.5 },
	} {
		t.Run(name, func(t *testing.T) {
			var doc map[string]any
			if err := json.Unmarshal([]byte(String(samples(t)["fault"], JSON)), &doc); err != nil {
				t.Fatal(err)
			}
			change(doc)
			if err := schema.Validate(doc); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestARemovedOrRenamedFieldBreaksTheContract(t *testing.T) {
	committed, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"a renamed field":      {`"near_misses": {`, `"misses": {`},
		"another type":         {`"took_ms": {`, `"took_ms": {"x-was": 1, "type": "string"}, "was": {`},
		"a state less":         {`"skipped"`, `"passed"`},
		"no longer guaranteed": {`"not_read"`, `"read"`},
	} {
		t.Run(name, func(t *testing.T) {
			now := strings.ReplaceAll(string(committed), edit[0], edit[1])
			if len(breaking(t, committed, []byte(now))) == 0 {
				t.Error("not noticed")
			}
		})
	}
	if b := breaking(t, committed, committed); len(b) != 0 {
		t.Errorf("unchanged, but: %v", b)
	}
	if b := breaking(t, committed, []byte(strings.Replace(string(committed), `"summary": {`, `"more": {"type": "string"}, "summary": {`, 1))); len(b) != 0 {
		t.Errorf("only grown, but: %v", b)
	}
}

// compileStrict is the committed schema of a report, refusing what it does not name.
func compileStrict(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := contract.Strict(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, report []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(report))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%#v", err)
	}
}

func schemaOf(t *testing.T) []byte {
	t.Helper()
	s := contract.Schema{
		Root:        reflect.TypeFor[trace.Report](),
		Sources:     []string{"../../trace/report.go", "../../trace/target.go"},
		ID:          "https://github.com/hoptrail/hoptrail/raw/main/docs/report.v1.schema.json",
		Title:       "The report of hoptrail -o json (hoptrail.report/v1)",
		Description: "Fields may be added; none is removed, renamed or given another type within v1.",
		Fields:      map[string]contract.Object{"Report.schema": {{Key: "const", Value: trace.Schema}}},
	}
	out, err := s.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func breaking(t *testing.T, before, after []byte) []string {
	t.Helper()
	out, err := contract.Breaking(before, after)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
