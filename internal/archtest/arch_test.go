package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/hoptrail/hoptrail"

// arrows is the picture of ARCHITECTURE.md: what each package may import of this
// module. A name stands for the package and, with /..., for those below it. The
// longest entry that fits a package is its own. A package that fits none is not
// in the picture yet.
var arrows = map[string][]string{
	"cmd/hoptrail": {"tui", "internal/...", "trace", "iptables/...", "envoyadmin/...", "k8s/...", "testdata", "docs/findings"},

	"tui/...":           {"tui/...", "trace", "internal/sanitize", "internal/privacy"},
	"tui/e2e/...":       {"tui", "trace", "internal/report"}, // programs of its tests
	"internal/report":   {"trace", "internal/sanitize", "internal/contract"},
	"internal/privacy":  {"trace"},
	"internal/snapshot": {"trace", "k8s"},
	"internal/sanitize": {},
	"internal/archtest": {},
	"internal/contract": {},
	"testdata":          {},
	"docs/findings":     {},

	"trace": {"iptables", "envoyadmin/...", "k8s"},

	"iptables/...":   {"iptables/..."},
	"envoyadmin/...": {"envoyadmin/..."},
	"k8s/...":        {"k8s/..."},

	// Live sources return observations, so they know what an observation is.
	"iptables/live": {"iptables", "trace"},
	"k8s/live":      {"k8s", "trace"},
}

// onlyFrom restricts packages to the importers that are named.
var onlyFrom = map[string][]string{
	"iptables/live": {"cmd/hoptrail"},
	"k8s/live":      {"cmd/hoptrail"},
	"testdata":      {"cmd/hoptrail"},
}

// pure packages compute on bytes they are given: no processes, no sockets, no
// files.
var (
	pure   = []string{"trace", "iptables", "envoyadmin/...", "k8s", "internal/report", "internal/privacy", "internal/sanitize"}
	impure = []string{"os", "os/exec", "os/signal", "net/http", "io/ioutil", "syscall", "log", "math/rand", "math/rand/v2"}
)

// mayAct lists the packages that may print and look at the clock.
var mayAct = []string{"cmd/...", "tui/...", "iptables/live", "k8s/live"}

// file is one Go file of the module.
type file struct {
	pkg     string // folder below the root, with slashes
	path    string
	test    bool
	ast     *ast.File
	imports map[string]string // local name to import path
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var fset = token.NewFileSet()

var (
	parseOnce sync.Once
	parsed    []*file
)

// files parses the module once.
func files(t *testing.T) []*file {
	t.Helper()
	parseOnce.Do(func() { parsed = parse(t) })
	if len(parsed) < 10 {
		t.Fatalf("only %d Go files", len(parsed))
	}
	return parsed
}

func parse(t *testing.T) []*file {
	t.Helper()
	top := root(t)
	var out []*file
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil && p != top {
				return filepath.SkipDir // a module of its own
			}
			if p != top && (strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "corpus" || name == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
			return nil
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		tree, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f := &file{pkg: path.Dir(rel), path: rel, test: strings.HasSuffix(name, "_test.go"), ast: tree, imports: map[string]string{}}
		for _, spec := range tree.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			local := path.Base(target)
			if spec.Name != nil {
				local = spec.Name.Name
			}
			if local == "_" {
				local += target
			}
			f.imports[local] = target
		}
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fits says whether pattern stands for pkg.
func fits(pattern, pkg string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == below || strings.HasPrefix(pkg, below+"/")
	}
	return pattern == pkg
}

func fitsAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return fits(p, pkg) })
}

// entryOf finds the arrows of a package: the longest entry that fits.
func entryOf(pkg string) (string, bool) {
	best := ""
	for e := range arrows {
		if fits(e, pkg) && len(e) > len(best) {
			best = e
		}
	}
	return best, best != ""
}

// checkImport says what is wrong with pkg importing target, if anything.
func checkImport(pkg, target string) string {
	entry, ok := entryOf(pkg)
	if !ok {
		return fmt.Sprintf("package %s is not in the picture: add its arrows here and to ARCHITECTURE.md", pkg)
	}
	rel, ours := strings.CutPrefix(target, module+"/")
	switch {
	case !ours:
		if fitsAny(pure, pkg) && slices.Contains(impure, target) {
			return fmt.Sprintf("%s computes on what it is given and must not import %s", pkg, target)
		}
		return ""
	case strings.HasPrefix(rel, pkg+"/internal/"):
		return "" // a package's own parts
	case !fitsAny(arrows[entry], rel):
		return fmt.Sprintf("%s must not import %s: arrows point down", pkg, rel)
	}
	if from, ok := onlyFrom[rel]; ok && !slices.Contains(from, pkg) {
		return fmt.Sprintf("only %s may import %s, not %s", strings.Join(from, ", "), rel, pkg)
	}
	return ""
}

func TestArrowsPointDown(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue
		}
		if _, ok := entryOf(f.pkg); !ok {
			t.Errorf("%s: %s", f.path, checkImport(f.pkg, ""))
			continue
		}
		for _, target := range f.imports {
			if wrong := checkImport(f.pkg, target); wrong != "" {
				t.Errorf("%s: %s", f.path, wrong)
			}
		}
	}
}

func TestABrokenArrowIsNoticed(t *testing.T) {
	for _, tt := range []struct {
		pkg, target string
		ok          bool
	}{
		{"cmd/hoptrail", module + "/trace", true},
		{"cmd/hoptrail", module + "/k8s/live", true},
		{"trace", module + "/iptables", true},
		{"trace", module + "/k8s/live", false},
		{"trace", module + "/internal/report", false},
		{"trace", module + "/tui", false},
		{"trace", "net/http", false},
		{"trace", "net/netip", true},
		{"iptables", module + "/trace", false},
		{"iptables", module + "/k8s", false},
		{"envoyadmin/accesslog", module + "/iptables", false},
		{"envoyadmin", module + "/envoyadmin/matcher", true},
		{"k8s", module + "/envoyadmin", false},
		{"k8s/live", module + "/trace", true},
		{"k8s/live", module + "/iptables", false},
		{"internal/report", module + "/k8s", false},
		{"internal/snapshot", module + "/testdata", false},
		{"tui", module + "/k8s", false},
		{"tui", module + "/internal/snapshot", false},
		{"pkg/util", "fmt", false},
	} {
		if got := checkImport(tt.pkg, tt.target); (got == "") != tt.ok {
			t.Errorf("%s importing %s: %q", tt.pkg, tt.target, got)
		}
	}
}

func TestEveryPackageSaysWhatItKnows(t *testing.T) {
	docs, commands := map[string]string{}, map[string]bool{}
	for _, f := range files(t) {
		if f.test {
			continue
		}
		text := ""
		if f.ast.Doc != nil {
			text = f.ast.Doc.Text()
		}
		if old, ok := docs[f.pkg]; !ok || len(text) > len(old) {
			docs[f.pkg] = text
		}
		commands[f.pkg] = f.ast.Name.Name == "main"
	}
	for pkg, text := range docs {
		name := "Package " + path.Base(pkg) + " "
		if commands[pkg] {
			name = "Command " + path.Base(pkg) + " "
		}
		if !strings.HasPrefix(text, name) {
			t.Errorf("%s: its doc comment does not begin with %q", pkg, name)
		}
		if len(strings.Fields(text)) < 20 {
			t.Errorf("%s: its doc comment does not say what it knows and must not know: %q", pkg, text)
		}
	}
}

func TestExportedNamesAreDocumented(t *testing.T) {
	for _, f := range files(t) {
		if f.test {
			continue
		}
		for i, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) && !wellKnown(d) && !inRun(f.ast.Decls[:i], d) {
					t.Errorf("%s: %s has no doc comment", fset.Position(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				said := d.Doc != nil // the first comment of a group may speak for all
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
							t.Errorf("%s: %s has no doc comment", fset.Position(s.Pos()), s.Name.Name)
						}
					case *ast.ValueSpec:
						said = said || s.Doc != nil || s.Comment != nil
						if s.Names[0].IsExported() && !said {
							t.Errorf("%s: %s has no doc comment", fset.Position(s.Pos()), s.Names[0].Name)
						}
					}
				}
			}
		}
	}
}

// inRun says whether d stands directly below another method, without a blank
// line: a run of accessors that the comment of the first describes.
func inRun(before []ast.Decl, d *ast.FuncDecl) bool {
	if len(before) == 0 {
		return false
	}
	last, ok := before[len(before)-1].(*ast.FuncDecl)
	return ok && fset.Position(last.End()).Line+1 == fset.Position(d.Pos()).Line && (last.Doc != nil || inRun(before[:len(before)-1], last))
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if index, ok := typ.(*ast.IndexExpr); ok {
		typ = index.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// wellKnown methods are described by the interface they satisfy.
func wellKnown(d *ast.FuncDecl) bool {
	return d.Recv != nil && slices.Contains([]string{"Error", "Unwrap", "String", "MarshalJSON", "UnmarshalJSON", "MarshalText", "UnmarshalText", "Read", "Write", "Close", "Len", "Less", "Swap", "Init", "Update", "View"}, d.Name.Name)
}

// Packages below cmd and tui are given streams and a clock by their callers, so
// that a test can give others.
func TestNothingPrintsOrAsksTheClock(t *testing.T) {
	for _, f := range files(t) {
		if f.test || fitsAny(mayAct, f.pkg) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := sel.X.(*ast.Ident)
			if !ok || id.Obj != nil {
				return true
			}
			if bad(f.imports[id.Name], sel.Sel.Name) {
				t.Errorf("%s: %s.%s outside cmd, tui and live", fset.Position(n.Pos()), id.Name, sel.Sel.Name)
			}
			return true
		})
	}
}

func bad(pkg, name string) bool {
	switch pkg {
	case "fmt":
		return strings.HasPrefix(name, "Print")
	case "os":
		return slices.Contains([]string{"Stdout", "Stderr", "Stdin", "Exit"}, name)
	case "time":
		return slices.Contains([]string{"Now", "Since", "Until", "Sleep", "Tick"}, name)
	}
	return false
}
