package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// FieldError says what is wrong with one field.
type FieldError struct {
	File    string // "" when the value does not come from a file
	Line    int    // 0 when the field is not in the file
	Field   string // "" when the file as a whole is meant
	Problem string
}

func (e *FieldError) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			b.WriteString(":" + strconv.Itoa(e.Line))
		}
		b.WriteString(": ")
	}
	if e.Field != "" {
		b.WriteString(e.Field + ": ")
	}
	b.WriteString(e.Problem)
	return b.String()
}

// Load reads the file at path, adds the secrets of files and environment, and validates. All mistakes are reported at once, each
// as a *FieldError.
func Load(path string) (*Config, error) {
	c := Defaults()
	err := fill(path, c, func() complaints {
		if c.Dev {
			c.developmentDefaults()
		}
		return c.validate()
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// LoadBridge is Load for the telephony bridge.
func LoadBridge(path string) (*Bridge, error) {
	c := &Bridge{Telephony: defaultTelephony(), Log: Log{Level: "info", Format: "text"}}
	if err := fill(path, c, c.validate); err != nil {
		return nil, err
	}
	return c, nil
}

// fill fills the configuration c, a pointer to a struct.
func fill(path string, c any, validate func() complaints) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	d := &decoder{file: path, lines: map[string]int{}, secretFiles: map[string]string{}}
	if d.parse(text, c); len(d.errs) > 0 {
		return errors.Join(d.errs...)
	}
	d.readSecrets(c)
	for _, e := range validate() {
		e.File, e.Line = path, d.lineOf(e.Field)
		d.errs = append(d.errs, e)
	}
	return errors.Join(d.errs...)
}

// ReadEnvironment sets the secrets that are in the environment. Load does it by itself.
func (c *Config) ReadEnvironment() error {
	d := &decoder{}
	d.readSecrets(c)
	return errors.Join(d.errs...)
}

// decoder fills a Config from a YAML document. It is written out because a mistake has to be reported with the path of the
// field and its line.
type decoder struct {
	file        string
	lines       map[string]int    // of each field in the file
	secretFiles map[string]string // path of a secret → file that holds it
	errs        []error
}

func (d *decoder) fail(line int, field, format string, a ...any) {
	d.errs = append(d.errs, &FieldError{File: d.file, Line: line, Field: field, Problem: fmt.Sprintf(format, a...)})
}

// lineOf finds the line of a field, or of the innermost part of its path that is in the file.
func (d *decoder) lineOf(field string) int {
	for {
		if line, ok := d.lines[field]; ok {
			return line
		}
		i := strings.LastIndexAny(field, ".[")
		if i < 0 {
			return 0
		}
		field = field[:i]
	}
}

func (d *decoder) parse(text []byte, c any) {
	var document yaml.Node
	if err := yaml.Load(text, &document); err != nil {
		if strings.TrimSpace(string(text)) == "" {
			return
		}
		d.fail(0, "", "not valid YAML: %v", err)
		return
	}
	node := &document
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	d.decode(node, reflect.ValueOf(c).Elem(), "")
}

var (
	secretType   = reflect.TypeFor[Secret]()
	durationType = reflect.TypeFor[time.Duration]()
)

func (d *decoder) decode(node *yaml.Node, v reflect.Value, path string) {
	if path != "" {
		d.lines[path] = node.Line
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if node.Kind == 0 || node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return // a field without a value keeps its default
	}
	switch v.Kind() {
	case reflect.Struct:
		d.decodeStruct(node, v, path)
	case reflect.Slice:
		if node.Kind != yaml.SequenceNode {
			d.fail(node.Line, path, "must be a list")
			return
		}
		list := reflect.MakeSlice(v.Type(), len(node.Content), len(node.Content))
		for i, item := range node.Content {
			d.decode(item, list.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
		v.Set(list)
	case reflect.Map:
		d.decodeMap(node, v, path)
	default:
		if node.Kind != yaml.ScalarNode {
			d.fail(node.Line, path, "must be a single value")
			return
		}
		d.decodeScalar(node, v, path)
	}
}

// decodeMap reads a group whose fields are named by whoever writes the file.
func (d *decoder) decodeMap(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, path, "must be a group of fields")
		return
	}
	m := reflect.MakeMap(v.Type())
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], reflect.New(v.Type().Elem()).Elem()
		field := join(path, key.Value)
		if m.MapIndex(reflect.ValueOf(key.Value)).IsValid() {
			d.fail(key.Line, field, "is given twice")
			continue
		}
		d.decode(node.Content[i+1], value, field)
		d.lines[field] = key.Line
		m.SetMapIndex(reflect.ValueOf(key.Value), value)
	}
	v.Set(m)
}

func (d *decoder) decodeScalar(node *yaml.Node, v reflect.Value, path string) {
	if v.Type() == durationType {
		duration, err := time.ParseDuration(node.Value)
		if err != nil {
			d.fail(node.Line, path, "must be a duration such as 20ms, 5s or 1h, not %q", node.Value)
			return
		}
		v.SetInt(int64(duration))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(node.Value)
	case reflect.Bool:
		switch node.Value {
		case "true", "false":
			v.SetBool(node.Value == "true")
		default:
			d.fail(node.Line, path, "must be true or false, not %q", node.Value)
		}
	case reflect.Int:
		n, err := strconv.Atoi(node.Value)
		if err != nil {
			d.fail(node.Line, path, "must be a whole number, not %q", node.Value)
			return
		}
		v.SetInt(int64(n))
	default:
		panic("config: no decoder for the type of " + path)
	}
}

func (d *decoder) decodeStruct(node *yaml.Node, v reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, path, "must be a group of fields")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		field := join(path, key.Value)
		if seen[key.Value] {
			d.fail(key.Line, field, "is given twice")
			continue
		}
		seen[key.Value] = true
		if target, ok := fieldNamed(v, key.Value); ok {
			d.decode(value, target, field)
			d.lines[field] = key.Line
			continue
		}
		secret, isFile := strings.CutSuffix(key.Value, "_file")
		if target, ok := fieldNamed(v, secret); ok && isFile && target.Type() == secretType {
			d.lines[field] = key.Line
			if value.Kind != yaml.ScalarNode {
				d.fail(value.Line, field, "must be the path of a file")
			} else if value.Value != "" {
				d.secretFiles[join(path, secret)] = value.Value
			}
			continue
		}
		d.fail(key.Line, field, "there is no such field; known here: %s", strings.Join(fieldNames(v.Type()), ", "))
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("yaml")
		names = append(names, name)
		if t.Field(i).Type == secretType {
			names = append(names, name+"_file")
		}
	}
	return names
}

// variable is the environment variable of the secret at path. An entry of a list stands there by its number, from 0.
func variable(path string) string {
	return "ROOMLINE_" + strings.ToUpper(strings.NewReplacer(".", "_", "[", "_", "]", "").Replace(path))
}

// readSecrets sets every secret that a file or the environment holds.
func (d *decoder) readSecrets(c any) {
	eachSecret(reflect.ValueOf(c).Elem(), "", func(path string, v reflect.Value) {
		file, hasFile := d.secretFiles[path]
		if hasFile && v.String() != "" {
			d.fail(d.lineOf(path), path, "is given twice, here and as %s_file", path)
			return
		}
		if value, ok := os.LookupEnv(variable(path)); ok {
			v.SetString(value)
			return
		}
		if !hasFile {
			return
		}
		value, err := readSecretFile(file)
		if err != nil {
			d.fail(d.lineOf(path+"_file"), path+"_file", "%v", err)
			return
		}
		v.SetString(value)
	})
}

func eachSecret(v reflect.Value, path string, f func(path string, v reflect.Value)) {
	for i := range v.NumField() {
		field := join(path, v.Type().Field(i).Tag.Get("yaml"))
		switch {
		case v.Field(i).Type() == secretType:
			f(field, v.Field(i))
		case v.Field(i).Kind() == reflect.Struct:
			eachSecret(v.Field(i), field, f)
		case v.Field(i).Kind() == reflect.Slice && v.Field(i).Type().Elem().Kind() == reflect.Struct:
			for j := range v.Field(i).Len() {
				eachSecret(v.Field(i).Index(j), fmt.Sprintf("%s[%d]", field, j), f)
			}
		}
	}
}

// readSecretFile refuses a file that others than its owner may read or change.
func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&^0o600 != 0 {
		return "", fmt.Errorf("%s has mode %04o, so that others may get at the secret; chmod 600 it", path, mode)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty", path)
	}
	return secret, nil
}
