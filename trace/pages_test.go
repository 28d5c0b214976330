package trace_test

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hoptrail/hoptrail/docs/findings"
	"github.com/hoptrail/hoptrail/internal/report"
	"github.com/hoptrail/hoptrail/trace"
)

// TestTablePagesAndWorldsAreInStep: each code has a row, a page of the same
// title with a captured run, and a world whose first case it names.
// -update writes the captured runs anew.
func TestTablePagesAndWorldsAreInStep(t *testing.T) {
	var codes []string
	all := worlds(t, "faults")
	for _, f := range trace.Faults() {
		codes = append(codes, f.Code)
		if title, ok := findings.Title(f.Code); !ok || title != f.Title {
			t.Errorf("%s is %q in the table and %q on its page", f.Code, f.Title, title)
		}
		for _, s := range f.Suppresses {
			if !slices.ContainsFunc(trace.Faults(), func(o trace.Fault) bool { return o.Code == s }) {
				t.Errorf("%s suppresses %s, which is no code", f.Code, s)
			}
		}
		if f.Retired {
			continue
		}
		archive, c := worldOf(t, all, f.Code)
		if archive == "" {
			t.Errorf("%s has no world", f.Code)
			continue
		}
		example := exampleOf(t, archive, c)
		if !strings.Contains(example, f.Code+" ") {
			t.Errorf("the example of %s does not name it:\n%s", f.Code, example)
		}
		file := filepath.Join("../docs/findings", f.Code+".md")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		page := withExample(string(data), example)
		if *update {
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if page != string(data) {
			t.Errorf("the captured run on %s is not what the world gives; run with -update", file)
		}
	}
	if !slices.IsSorted(codes) || len(slices.Compact(slices.Clone(codes))) != len(codes) {
		t.Errorf("the table is not in the order of the codes, or has one twice: %v", codes)
	}
	if pages := findings.Codes(); !slices.Equal(pages, codes) {
		t.Errorf("pages %v, table %v", pages, codes)
	}
}

// worldOf is the first world of a code and the first of its cases that names it.
func worldOf(t testing.TB, all map[string][]worldCase, code string) (string, worldCase) {
	t.Helper()
	for _, archive := range sorted(all) {
		if !strings.HasPrefix(filepath.Base(archive), code+"-") {
			continue
		}
		for _, c := range all[archive] {
			if c.Expect.Code == code {
				return archive, c
			}
		}
	}
	return "", worldCase{}
}

// exampleOf is the head of a text report: target, verdict, the hops, the
// findings; and the command that prints it.
func exampleOf(t testing.TB, archive string, c worldCase) string {
	t.Helper()
	world := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
	text := report.String(traceWorld(t, archive, c.target(t)), report.Text)
	head, _, _ := strings.Cut(text, "\nHOP 1 ")
	if before, rest, ok := strings.Cut(head, "\nPATHS"); ok {
		_, after, found := strings.Cut(rest, "\nFINDINGS")
		head = before
		if found {
			head += "\nFINDINGS" + after
		}
	}
	var lines []string
	for line := range strings.Lines(head) {
		lines = append(lines, strings.TrimRight(strings.ReplaceAll(line, "\t", "        "), " \n"))
	}
	return "```console\n$ hoptrail demo " + world + "/" + c.Name + "\n" + strings.TrimSpace(strings.Join(lines, "\n")) + "\n```\n"
}

// withExample puts the captured run where a page has it.
func withExample(page, example string) string {
	const heading = "\n## Example\n\n"
	if before, rest, ok := strings.Cut(page, heading); ok {
		_, after, _ := strings.Cut(rest, "\n```\n")
		page = before + "\n" + strings.TrimLeft(after, "\n")
		page = strings.Replace(page, "\n## Related", "\n## Related", 1)
	}
	before, after, _ := strings.Cut(page, "\n## Related")
	return strings.TrimRight(before, "\n") + "\n" + heading + cmp.Or(example, "") + "\n## Related" + after
}
