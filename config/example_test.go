package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write example.yaml")

// TestExampleIsGenerated compares example.yaml with what the doc comments say. Run make config-example after a change.
func TestExampleIsGenerated(t *testing.T) {
	want := generate(t)
	if *update {
		if err := os.WriteFile("example.yaml", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if Example() != want {
		t.Error("example.yaml is not what the comments of the fields say; run make config-example")
	}
}

func TestExampleIsValid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "roomline.yaml")
	if err := os.WriteFile(path, []byte(Example()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Registration.Mode != RegistrationOff || c.Dev || !c.RateLimits.Enabled {
		t.Fatalf("the example does not show the defaults: %+v", c)
	}
}

// generator writes the example from the struct's tags and the comments in the source.
type generator struct {
	docs map[string]string // "Type.Field" → doc comment
	out  strings.Builder
}

func generate(t *testing.T) string {
	t.Helper()
	g := &generator{docs: map[string]string{}}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		g.read(file)
	}
	g.out.WriteString("# The configuration of Roomline. Fields that are commented out show their default.\n" +
		"# A secret may also stand in a file of mode 0600 or in the environment, as its comment says.\n")
	g.fields(t, reflect.ValueOf(*Defaults()), "", "")
	return g.out.String()
}

// read takes the comments of a file.
func (g *generator) read(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				g.docs[spec.Name.Name+"."+f.Names[0].Name] = f.Doc.Text()
			}
		}
		return false
	})
}

func (g *generator) fields(t *testing.T, v reflect.Value, path, indent string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		doc := strings.TrimSpace(g.docs[v.Type().Name()+"."+f.Name])
		if name == "" || doc == "" {
			t.Fatalf("%s.%s needs a yaml tag and a doc comment", v.Type().Name(), f.Name)
		}
		if f.Type == secretType {
			doc += fmt.Sprintf("\nSecret: may be given as %s_file or in the environment as %s.", name, variable(join(path, name)))
		}
		doc = name + strings.TrimPrefix(doc, f.Name)
		if path == "" {
			g.out.WriteString("\n")
		}
		for line := range strings.SplitSeq(doc, "\n") {
			g.out.WriteString(indent + "# " + line + "\n")
		}
		g.field(t, v.Field(i), f, join(path, name), indent)
	}
}

func (g *generator) field(t *testing.T, v reflect.Value, f reflect.StructField, path, indent string) {
	name := f.Tag.Get("yaml")
	example, hasExample := f.Tag.Lookup("example")
	switch {
	case hasExample:
		fmt.Fprintf(&g.out, "%s%s: %s\n", indent, name, example)
	case v.Kind() == reflect.Struct:
		fmt.Fprintf(&g.out, "%s%s:\n", indent, name)
		g.fields(t, v, path, indent+"  ")
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		fmt.Fprintf(&g.out, "%s%s:\n%s  -\n", indent, name, indent)
		g.fields(t, reflect.New(v.Type().Elem()).Elem(), path+"[0]", indent+"    ")
	case v.Kind() == reflect.Slice:
		fmt.Fprintf(&g.out, "%s# %s: []\n", indent, name)
	case v.IsZero() && v.Kind() == reflect.String:
		fmt.Fprintf(&g.out, "%s# %s: \"\"\n", indent, name)
	default:
		text, err := yaml.Marshal(v.Interface())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&g.out, "%s%s: %s\n", indent, name, strings.TrimSpace(string(text)))
	}
}
