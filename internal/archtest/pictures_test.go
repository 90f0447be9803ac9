package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// decodesAnything lists where a file calls image.Decode or image.DecodeConfig: these take every format that any package of the program has
// registered, and a library of ours registers more than the four that we want to read of strangers.
func decodesAnything(files *token.FileSet, f *ast.File) (found []string) {
	name := ""
	for _, i := range f.Imports {
		if path, _ := strconv.Unquote(i.Path.Value); path == "image" {
			if name = "image"; i.Name != nil {
				name = i.Name.Name
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if name == "." {
			if id, ok := n.(*ast.Ident); ok && (id.Name == "Decode" || id.Name == "DecodeConfig") && id.Obj == nil {
				found = append(found, files.Position(id.Pos()).String())
			}
			return true
		}
		s, ok := n.(*ast.SelectorExpr)
		if !ok || s.Sel.Name != "Decode" && s.Sel.Name != "DecodeConfig" {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && name != "" && x.Name == name && x.Obj == nil {
			found = append(found, files.Position(s.Pos()).String())
		}
		return true
	})
	return found
}

func TestNothingDecodesWhateverIsRegistered(t *testing.T) {
	looked := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2) {
			return filepath.SkipDir
		}
		// Tests look at what the server made.
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		looked++
		for _, where := range decodesAnything(files, f) {
			t.Errorf("%s decodes whatever is registered; name the format", where)
		}
		return nil
	})
	if err != nil || looked < 100 {
		t.Fatalf("%d files were looked at: %v", looked, err)
	}
}

func TestDecodingOfAnythingIsFound(t *testing.T) {
	for source, want := range map[string]int{
		"package p; import \"image\"; func f() { image.Decode(nil); image.DecodeConfig(nil) }":     2,
		"package p; import pictures \"image\"; var f = pictures.Decode":                            1,
		"package p; import . \"image\"; func f() { DecodeConfig(nil) }":                            1,
		"package p; import \"image/png\"; import \"image\"; var r image.Point; var f = png.Decode": 0,
	} {
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, "p.go", source, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := decodesAnything(files, f); len(got) != want {
			t.Errorf("%s: %v, want %d", source, got, want)
		}
	}
}
