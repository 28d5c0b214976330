package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"go.yaml.in/yaml/v3"
)

// releaseConfig is what the tests look at of .goreleaser.yaml; a key that is not
// here is refused, so that a misspelt one is found.
type releaseConfig struct {
	Version     int
	ProjectName string `yaml:"project_name"`
	Builds      []struct {
		ID, Main, Binary    string
		Env, Flags, Ldflags []string
		ModTimestamp        string `yaml:"mod_timestamp"`
		Goos, Goarch        []string
	}
	Archives []struct {
		ID           string
		IDs          []string
		NameTemplate string `yaml:"name_template"`
		Formats      []string
		Files        []string
	}
	Checksum struct {
		NameTemplate string `yaml:"name_template"`
	}
	Changelog struct{ Disable bool }
	Release   struct{ Footer string }
}

func readRelease(t *testing.T) releaseConfig {
	t.Helper()
	data, err := os.ReadFile("../../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c releaseConfig
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// released are the names of the archives of a tag, by "os arch".
func (c *releaseConfig) released(t *testing.T, tag string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if len(c.Builds) != 1 || len(c.Archives) != 1 || len(c.Archives[0].Formats) != 1 {
		t.Fatalf("%d builds, %d archives", len(c.Builds), len(c.Archives))
	}
	name := template.Must(template.New("name").Parse(c.Archives[0].NameTemplate))
	for _, goos := range c.Builds[0].Goos {
		for _, arch := range c.Builds[0].Goarch {
			var b strings.Builder
			if err := name.Execute(&b, map[string]string{"Tag": tag, "Os": goos, "Arch": arch}); err != nil {
				t.Fatal(err)
			}
			out[goos+" "+arch] = b.String() + "." + c.Archives[0].Formats[0]
		}
	}
	return out
}

func TestTheReleaseBuildsThisProgram(t *testing.T) {
	c := readRelease(t)
	b, a := c.Builds[0], c.Archives[0]
	if c.Version != 2 || b.Main != "./cmd/hoptrail" || b.Binary != "hoptrail" || !slices.Contains(b.Env, "CGO_ENABLED=0") {
		t.Errorf("%+v", b)
	}
	if !slices.Equal(a.IDs, []string{b.ID}) {
		t.Errorf("the archive is of %q", a.IDs)
	}
	// What -X sets must be there to be set.
	source, err := os.ReadFile("version.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`-X main\.(\w+)=`).FindAllStringSubmatch(strings.Join(b.Ldflags, " "), -1) {
		if !regexp.MustCompile(`(?m)^(var |\t)` + m[1] + `( string)?\b`).Match(source) {
			t.Errorf("main.%s is not in version.go", m[1])
		}
	}
	if !slices.Contains(a.Files, "LICENSE") {
		t.Error("krew wants the license in the archive")
	}
	for _, name := range a.Files {
		if _, err := os.Stat(filepath.Join("../..", name)); err != nil {
			t.Error(err)
		}
	}
}

// TestTheKrewManifestIsOne renders the template with the functions that krew's
// release bot has, and holds it against what krew validates
// (internal/index/validation, internal/installation/semver).
func TestTheKrewManifestIsOne(t *testing.T) {
	const tag = "v1.2.3"
	var asked []string
	funcs := template.FuncMap{
		"addURIAndSha": func(uri, tag string) (string, error) {
			parsed, err := template.New("uri").Parse(uri)
			if err != nil {
				return "", err
			}
			var b strings.Builder
			err = parsed.Execute(&b, map[string]string{"TagName": tag})
			asked = append(asked, b.String())
			return fmt.Sprintf("uri: %s\n    sha256: %064x", b.String(), len(asked)), err
		},
		"indent": func(n int, text string) string {
			lines := strings.Split(text, "\n")
			for i := range lines {
				lines[i] = strings.Repeat(" ", n) + strings.TrimSpace(lines[i])
			}
			return strings.TrimSpace(strings.Join(lines, "\n"))
		},
	}
	data, err := os.ReadFile("../../.krew.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := template.New(".krew.yaml").Funcs(funcs).Parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	var rendered bytes.Buffer
	if err := manifest.Execute(&rendered, map[string]string{"TagName": tag}); err != nil {
		t.Fatal(err)
	}
	var p struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			Version, Homepage             string
			ShortDescription, Description string `yaml:",omitempty"`
			Caveats                       string
			Platforms                     []struct {
				Selector struct {
					MatchLabels map[string]string `yaml:"matchLabels"`
				}
				URI, Sha256, Bin string
			}
		}
	}
	// krew reads the fields in camel case.
	text := strings.Replace(rendered.String(), "shortDescription:", "shortdescription:", 1)
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("%v\n%s", err, rendered.String())
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || !regexp.MustCompile(`^[\w-]+$`).MatchString(p.Metadata.Name) || p.Metadata.Name != "hoptrail" {
		t.Errorf("%s %s %s", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	if p.Spec.Version != tag || p.Spec.ShortDescription == "" || strings.ContainsAny(p.Spec.ShortDescription, "\r\n") || p.Spec.Homepage == "" || p.Spec.Description == "" {
		t.Errorf("%+v", p.Spec)
	}
	c := readRelease(t)
	released := c.released(t, tag)
	for _, pl := range p.Spec.Platforms {
		on := pl.Selector.MatchLabels["os"] + " " + pl.Selector.MatchLabels["arch"]
		want := "https://github.com/hoptrail/hoptrail/releases/download/" + tag + "/" + released[on]
		if len(pl.Selector.MatchLabels) != 2 || released[on] == "" || pl.URI != want {
			t.Errorf("%s: %s, want %s", on, pl.URI, want)
		}
		delete(released, on)
		if !regexp.MustCompile(`^[a-f0-9]{64}$`).MatchString(pl.Sha256) || pl.Bin != c.Builds[0].Binary {
			t.Errorf("%s: sha256 %q, bin %q", on, pl.Sha256, pl.Bin)
		}
	}
	for on := range released {
		t.Errorf("the release for %s is not in the manifest", on)
	}
}
