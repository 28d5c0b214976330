package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hoptrail/hoptrail/trace"
)

//go:generate go test -run TestTheSchemaIsThatOfTheStructs -update

const schemaFile = "../../docs/report.v1.schema.json"

// The committed schema is generated from the structs; `go generate ./...`
// writes it anew, but not without something that was promised.
func TestTheSchemaIsThatOfTheStructs(t *testing.T) {
	got, err := json.MarshalIndent(schemaOf(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
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

// compileStrict compiles the committed schema so that it also refuses fields it
// does not name. To others it is open: the contract grows.
func compileStrict(t *testing.T) *jsonschema.Schema {
	t.Helper()
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, def := range doc.(map[string]any)["$defs"].(map[string]any) {
		if d := def.(map[string]any); d["properties"] != nil {
			d["additionalProperties"] = false
		}
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("report.json")
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

// obj is a JSON object whose keys keep their order.
type obj []entry

type entry struct {
	key   string
	value any
}

func (o obj) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(e.key)
		if err != nil {
			return nil, err
		}
		v, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// source is what the Go source of package trace says besides its types.
type source struct {
	types  map[string]string            // type to its doc comment
	fields map[string]map[string]string // type to field to its comment
	enums  map[string][]string          // type to its constants
}

func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{types: map[string]string{}, fields: map[string]map[string]string{}, enums: map[string][]string{}}
	for _, name := range []string{"report.go", "target.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), "../../trace/"+name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range gen.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					s.types[spec.Name.Name] = comment(gen.Doc)
					st, ok := spec.Type.(*ast.StructType)
					if !ok {
						continue
					}
					fields := map[string]string{}
					for _, f := range st.Fields.List {
						for _, n := range f.Names {
							fields[n.Name] = comment(f.Comment)
						}
					}
					s.fields[spec.Name.Name] = fields
				case *ast.ValueSpec:
					if id, ok := spec.Type.(*ast.Ident); ok {
						for _, v := range spec.Values {
							if lit, ok := v.(*ast.BasicLit); ok {
								if value, err := strconv.Unquote(lit.Value); err == nil {
									s.enums[id.Name] = append(s.enums[id.Name], value)
								}
							}
						}
					}
				}
			}
		}
	}
	return s
}

func comment(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	text := strings.NewReplacer("[", "", "]", "").Replace(g.Text())
	return strings.Join(strings.Fields(text), " ")
}

func schemaOf(t *testing.T) obj {
	src := readSource(t)
	defs := map[string]obj{}
	root := define(t, reflect.TypeFor[trace.Report](), src, defs)
	names := make([]string, 0, len(defs))
	for n := range defs {
		names = append(names, n)
	}
	slices.Sort(names)
	var all obj
	for _, n := range names {
		all = append(all, entry{n, defs[n]})
	}
	return obj{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"$id", "https://github.com/hoptrail/hoptrail/raw/main/docs/report.v1.schema.json"},
		{"title", "The report of hoptrail -o json (hoptrail.report/v1)"},
		{"description", "Fields may be added; none is removed, renamed or given another type within v1."},
		{"$ref", root[0].value},
		{"$defs", all},
	}
}

// define returns the schema of a type, adding those of named types to defs.
func define(t *testing.T, typ reflect.Type, src *source, defs map[string]obj) obj {
	if typ == reflect.TypeFor[json.RawMessage]() {
		return obj{}
	}
	ref := obj{{"$ref", "#/$defs/" + typ.Name()}}
	switch typ.Kind() {
	case reflect.Pointer:
		return define(t, typ.Elem(), src, defs)
	case reflect.Bool:
		return obj{{"type", "boolean"}}
	case reflect.Int, reflect.Int64:
		return obj{{"type", "integer"}}
	case reflect.Uint32:
		return obj{{"type", "integer"}, {"minimum", 0}}
	case reflect.Float64:
		return obj{{"type", "number"}, {"minimum", 0}}
	case reflect.Slice:
		return obj{{"type", "array"}, {"items", define(t, typ.Elem(), src, defs)}}
	case reflect.Map:
		return obj{{"type", "object"}, {"additionalProperties", define(t, typ.Elem(), src, defs)}}
	case reflect.String:
		if typ.Name() == "string" {
			return obj{{"type", "string"}}
		}
		if len(src.enums[typ.Name()]) == 0 {
			t.Fatalf("%s has no constants", typ)
		}
		defs[typ.Name()] = obj{{"description", src.types[typ.Name()]}, {"type", "string"}, {"enum", src.enums[typ.Name()]}}
		return ref
	case reflect.Struct:
		if _, ok := defs[typ.Name()]; ok {
			return ref
		}
		defs[typ.Name()] = nil // a type may hold itself
		var props obj
		required := []string{}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" || name == "-" {
				t.Fatalf("%s.%s has no name in JSON", typ, f.Name)
			}
			if !strings.Contains(opts, "omitempty") {
				required = append(required, name)
			}
			p := define(t, f.Type, src, defs)
			switch {
			case typ == reflect.TypeFor[trace.Report]() && name == "schema":
				p = append(p, entry{"const", trace.Schema})
			case name == "probability":
				p = append(p, entry{"maximum", 1.000001}) // a sum of rounded parts
			}
			if c := src.fields[typ.Name()][f.Name]; c != "" {
				p = append(obj{{"description", c}}, p...)
			}
			props = append(props, entry{name, p})
		}
		defs[typ.Name()] = obj{{"description", src.types[typ.Name()]}, {"type", "object"}, {"properties", props}, {"required", required}}
		return ref
	default:
		t.Fatalf("%s cannot be in a report", typ)
		return nil
	}
}

// breaking lists what was promised by the schema before and is not by the one
// after: a property that is gone or has another type, one that is no longer
// always there, an enumerated value that is gone.
func breaking(t *testing.T, before, after []byte) []string {
	t.Helper()
	var b, a map[string]any
	if err := json.Unmarshal(before, &b); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(after, &a); err != nil {
		t.Fatal(err)
	}
	var out []string
	var compare func(path string, b, a any)
	compare = func(path string, b, a any) {
		switch b := b.(type) {
		case map[string]any:
			am, ok := a.(map[string]any)
			if !ok {
				out = append(out, path+" is gone")
				return
			}
			for k, v := range b {
				if k != "description" && k != "title" && k != "$id" {
					compare(path+"/"+k, v, am[k])
				}
			}
		case []any: // enum, required: a set that may only grow
			as, _ := a.([]any)
			for _, v := range b {
				if !slices.ContainsFunc(as, func(x any) bool { return reflect.DeepEqual(x, v) }) {
					out = append(out, fmt.Sprintf("%s lost %v", path, v))
				}
			}
		default:
			if !reflect.DeepEqual(a, b) {
				out = append(out, fmt.Sprintf("%s was %v, is %v", path, b, a))
			}
		}
	}
	compare("", b, a)
	slices.Sort(out)
	return out
}
