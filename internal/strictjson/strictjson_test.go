package strictjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
)

func TestCanonicalFormOfTheSpecsExamples(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"empty", `{}`, `{}`},
		{"white space", "{\n    \"one\": 1,\n    \"two\": \"Two\"\n}", `{"one":1,"two":"Two"}`},
		{"order", `{"b":"2","a":"1"}`, `{"a":"1","b":"2"}`},
		{
			"nested",
			`{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
			 "three_pids": [{"medium": "email", "address": "john.doe@example.org"}, {"medium": "msisdn", "address": "123456789"}]}}}`,
			`{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}`,
		},
		{"utf-8", `{"a": "日本語"}`, `{"a":"日本語"}`},
		{"utf-8 keys", `{"本": 2, "日": 1}`, `{"日":1,"本":2}`},
		{"escapes", `{"a": "\u65E5"}`, `{"a":"日"}`},
		{"null", `{"a": null}`, `{"a":null}`},
		{"numbers", `{"a": -0, "b": 1e10}`, `{"a":0,"b":10000000000}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := CanonicalLax([]byte(tt.in))
			if err != nil || string(got) != tt.want {
				t.Fatalf("CanonicalLax = %s, %v; want %s", got, err, tt.want)
			}
			if strings.Contains(tt.in, "e10") {
				return
			}
			got, err = Canonical([]byte(tt.in))
			if err != nil || string(got) != tt.want {
				t.Fatalf("Canonical = %s, %v; want %s", got, err, tt.want)
			}
		})
	}
}

func TestCanonicalForm(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"code points, not UTF-16 units", `{"\ud800\udc00":1,"\uffff":2}`, "{\"\uffff\":2,\"\U00010000\":1}"},
		{"escaped keys are sorted by what they mean", `{"b":1,"\u0061":2}`, `{"a":2,"b":1}`},
		{"prefix first", `{"ab":1,"a":2,"":3}`, `{"":3,"a":2,"ab":1}`},
		{"no HTML escapes", `{"a":"<\u003c\u0026&>\u2028"}`, "{\"a\":\"<<&&>\u2028\"}"},
		{"shortest escapes", `{"a":"\u0008\u0009\u000a\u000c\u000d\u0022\u005c\/\u0001\u001F\u007f"}`, `{"a":"\b\t\n\f\r\"\\/\u0001\u001f` + "\x7f" + `"}`},
		{"surrogate pair", `{"a":"\uD83D\ude00"}`, `{"a":"😀"}`},
		{"largest integers", `{"a":9007199254740991,"b":-9007199254740991}`, `{"a":9007199254740991,"b":-9007199254740991}`},
		{"arrays keep their order", `{"a":[3, 1,[ ],{ }, "x" ,true,false]}`, `{"a":[3,1,[],{},"x",true,false]}`},
		{"objects in objects", `{"z":{"b":{"d":1,"c":2},"a":0},"y":[{"b":1,"a":2}]}`, `{"y":[{"a":2,"b":1}],"z":{"a":0,"b":{"c":2,"d":1}}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := []byte(tt.in)
			got, err := Canonical(in)
			if err != nil || string(got) != tt.want {
				t.Fatalf("Canonical = %s, %v; want %s", got, err, tt.want)
			}
			if string(in) != tt.in {
				t.Fatalf("the input has become %s", in)
			}
		})
	}
}

func TestLaxNumbersAreWrittenAsIntegersOnlyWhereNothingIsRounded(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1.0": "1.0", "1.50": "1.50", "-1.5e1": "-15", "1E3": "1000", "0e9": "0", "-0.0e5": "0", "1e-2": "1e-2",
		"9007199254740991e0": "9007199254740991", "9007199254740992e0": "9007199254740992e0", "1e400": "1e400",
		"100e-2": "1", "0.001e3": "1", "1e999999999999": "1e999999999999", "120e+1": "1200",
	} {
		got, err := CanonicalLax([]byte(`{"n":` + in + `}`))
		if want = `{"n":` + want + `}`; err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", in, got, err, want)
		}
	}
}

// refused lists input that no function of the package accepts.
var refused = []struct {
	name, in string
	code     matrix.ErrCode
}{
	{"nothing", ``, matrix.ErrNotJSON},
	{"white space", " \n", matrix.ErrNotJSON},
	{"byte order mark", "\ufeff{}", matrix.ErrNotJSON},
	{"not JSON", `hello`, matrix.ErrNotJSON},
	{"cut off", `{"a":1`, matrix.ErrNotJSON},
	{"cut off in a string", `{"a":"`, matrix.ErrNotJSON},
	{"cut off in an escape", `{"a":"\`, matrix.ErrNotJSON},
	{"cut off in a key", `{"a`, matrix.ErrNotJSON},
	{"trailing data", `{} {}`, matrix.ErrNotJSON},
	{"trailing comma", `{"a":1,}`, matrix.ErrNotJSON},
	{"trailing comma in an array", `{"a":[1,]}`, matrix.ErrNotJSON},
	{"key without quotes", `{a:1}`, matrix.ErrNotJSON},
	{"no colon", `{"a" 1}`, matrix.ErrNotJSON},
	{"comment", `{/**/}`, matrix.ErrNotJSON},
	{"vertical tab", "{\v}", matrix.ErrNotJSON},
	{"leading zero", `{"a":01}`, matrix.ErrNotJSON},
	{"plus", `{"a":+1}`, matrix.ErrNotJSON},
	{"lone minus", `{"a":-}`, matrix.ErrNotJSON},
	{"no fraction", `{"a":1.}`, matrix.ErrNotJSON},
	{"no exponent", `{"a":1e}`, matrix.ErrNotJSON},
	{"NaN", `{"a":NaN}`, matrix.ErrNotJSON},
	{"wrong word", `{"a":nul}`, matrix.ErrNotJSON},
	{"unknown escape", `{"a":"\x"}`, matrix.ErrNotJSON},
	{"broken unicode escape", `{"a":"\u12g4"}`, matrix.ErrNotJSON},
	{"newline in a string", "{\"a\":\"\n\"}", matrix.ErrNotJSON},
	{"raw NUL", "{\"a\":\"\x00\"}", matrix.ErrNotJSON},
	{"invalid UTF-8", "{\"a\":\"\xff\"}", matrix.ErrNotJSON},
	{"overlong UTF-8", "{\"a\":\"\xc0\x80\"}", matrix.ErrNotJSON},
	{"surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", matrix.ErrNotJSON},
	{"invalid UTF-8 in a key", "{\"\xff\":1}", matrix.ErrNotJSON},
	{"escaped NUL", `{"a":"\u0000"}`, matrix.ErrBadJSON},
	{"escaped NUL in a key", `{"\u0000":1}`, matrix.ErrBadJSON},
	{"lone high surrogate", `{"a":"\ud800"}`, matrix.ErrBadJSON},
	{"lone low surrogate", `{"a":"\udc00x"}`, matrix.ErrBadJSON},
	{"two high surrogates", `{"a":"\ud800\ud800"}`, matrix.ErrBadJSON},
	{"duplicate key", `{"a":1,"b":2,"a":1}`, matrix.ErrBadJSON},
	{"duplicate neighbour", `{"a":1,"a":1}`, matrix.ErrBadJSON},
	{"duplicate key inside", `{"x":[{"y":{"a":1,"a":1}}]}`, matrix.ErrBadJSON},
	{"duplicate by escape", `{"a":1,"\u0061":2}`, matrix.ErrBadJSON},
	{"2^53", `{"a":9007199254740992}`, matrix.ErrBadJSON},
	{"-2^53", `{"a":-9007199254740992}`, matrix.ErrBadJSON},
	{"2^64", `{"a":[18446744073709551616]}`, matrix.ErrBadJSON},
	{"too deep", strings.Repeat(`{"a":`, 101) + `1` + strings.Repeat(`}`, 101), matrix.ErrBadJSON},
	{"much too deep", strings.Repeat(`[`, 1_000_000), matrix.ErrBadJSON},
	{"too many keys", manyKeys(limits.JSONKeys + 1), matrix.ErrBadJSON},
	{"too long a string", `{"a":"` + strings.Repeat("x", limits.JSONString+1) + `"}`, matrix.ErrBadJSON},
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, n-i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestRefusedInput(t *testing.T) {
	t.Parallel()
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var into struct {
				A json.RawMessage `json:"a"`
			}
			_, strict := Canonical([]byte(tt.in))
			_, lax := CanonicalLax([]byte(tt.in))
			for name, err := range map[string]error{
				"Canonical": strict, "CanonicalLax": lax, "Check": Check([]byte(tt.in)), "Decode": Decode([]byte(tt.in), &into),
			} {
				e, ok := matrix.AsError(err)
				if !ok || e.Code != tt.code || e.Status != http.StatusBadRequest {
					t.Errorf("%s: %v, want %s", name, err, tt.code)
				} else if len(e.Message) > 300 {
					t.Errorf("%s repeats %d bytes of its input", name, len(e.Message))
				}
			}
		})
	}
}

func TestWhatLiesJustInsideTheBoundsIsAccepted(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		strings.Repeat(`{"a":`, 100) + `1` + strings.Repeat(`}`, 100),
		`{"a":[` + strings.Repeat(`[],{},`, 200) + `[]]}`, // wide, not deep
		manyKeys(limits.JSONKeys),
		`{"a":"` + strings.Repeat("x", limits.JSONString) + `"}`,
	} {
		if _, err := Canonical([]byte(in)); err != nil {
			t.Errorf("%.40s…: %v", in, err)
		}
	}
}

func TestCanonicalTakesIntegersAndObjectsOnly(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`{"a":1.0}`, `{"a":1e3}`, `{"a":[-1.5]}`, `{"a":-0.0}`, `[]`, `"x"`, ` 1`, `null`} {
		_, err := Canonical([]byte(in))
		if e, ok := matrix.AsError(err); !ok || e.Code != matrix.ErrBadJSON {
			t.Errorf("Canonical(%s): %v, want M_BAD_JSON", in, err)
		}
		if err := Check([]byte(in)); err != nil {
			t.Errorf("Check(%s): %v", in, err)
		}
	}
}

// identifier decodes itself, as types of request bodies may.
type identifier string

func (i *identifier) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if !strings.HasPrefix(s, "@") {
		return matrix.InvalidParam("identifier must start with @")
	}
	*i = identifier(s)
	return nil
}

type common struct {
	Reason string `json:"reason"`
}

type request struct {
	common
	Name    string                     `json:"name"`
	Limit   *int                       `json:"limit"`
	Small   int8                       `json:"small"`
	On      bool                       `json:"on"`
	Content json.RawMessage            `json:"content"`
	Value   jsontext.Value             `json:"value"`
	Extra   map[string]json.RawMessage `json:"extra"`
	Users   map[string]common          `json:"users"`
	List    []common                   `json:"list"`
	User    *identifier                `json:"user"`
	Next    *request                   `json:"next"`
	Hidden  string                     `json:"-"`
}

func TestDecodeFillsAllKindsOfFields(t *testing.T) {
	t.Parallel()
	in := `{"name":"n","limit":5,"on":true,"reason":"r","content":{"Name": 1, "name":2},"value":[1, 2],"extra":{"NAME":{"Reason":1}},
	  "users":{"@A:b":{"reason":"u"},"@a:b":{}},"list":[{"reason":"l"}],"user":"@x:y","next":{"name":"m"},"unknown":{"Reason":1},"Hidden":"x"}`
	var r request
	if err := Decode([]byte(in), &r); err != nil {
		t.Fatal(err)
	}
	switch {
	case r.Name != "n", *r.Limit != 5, !r.On, r.Reason != "r", string(r.Value) != "[1, 2]" && string(r.Value) != "[1,2]",
		string(r.Extra["NAME"]) != `{"Reason":1}`, r.Users["@A:b"].Reason != "u", r.List[0].Reason != "l", *r.User != "@x:y",
		r.Next.Name != "m", r.Hidden != "":
		t.Errorf("decoded %+v", r)
	}
	var content map[string]int
	if err := json.Unmarshal(r.Content, &content); err != nil || content["Name"] != 1 || content["name"] != 2 {
		t.Errorf("content = %s", r.Content)
	}
}

func TestDecodeRefusesKeysThatDifferFromAFieldInCase(t *testing.T) {
	t.Parallel()
	for in, key := range map[string]string{
		`{"Name":"x"}`:                  "Name",
		`{"name":"x","NAME":"y"}`:       "NAME",
		`{"\u004eame":"x"}`:             "Name",
		`{"Reason":"x"}`:                "Reason",
		`{"next":{"next":{"Name":1}}}`:  "Name",
		`{"users":{"a":{"rEason":""}}}`: "rEason",
		`{"list":[{},{"REASON":""}]}`:   "REASON",
		"{\"li\u017ft\":[]}":            "li\u017ft", // the long s folds to s
	} {
		var r request
		e, ok := matrix.AsError(Decode([]byte(in), &r))
		if !ok || e.Code != matrix.ErrBadJSON || !strings.Contains(e.Message, key) {
			t.Errorf("%s: %v, want M_BAD_JSON naming %s", in, e, key)
		}
	}
}

func TestDecodeNamesTheFieldOfAWrongType(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"name":1}`:              "name must be a string",
		`{"on":"yes"}`:            "on must be true or false",
		`{"limit":"5"}`:           "limit must be an integer",
		`{"limit":1.5}`:           "limit must be an integer",
		`{"small":1000}`:          "small must be an integer within range",
		`{"next":{"name":[]}}`:    "next.name must be a string",
		`{"list":[{"reason":1}]}`: "list.0.reason must be a string",
		`{"list":{}}`:             "list must be an array",
		`{"users":[]}`:            "users must be an object",
		`[]`:                      "the body must be an object",
		`{"user":5}`:              "user",
	} {
		var r request
		e, ok := matrix.AsError(Decode([]byte(in), &r))
		if !ok || e.Code != matrix.ErrBadJSON || !strings.Contains(e.Message, want) {
			t.Errorf("%s: %v, want %q", in, e, want)
		}
	}
	var r request
	if e, ok := matrix.AsError(Decode([]byte(`{"user":"x"}`), &r)); !ok || e.Code != matrix.ErrInvalidParam {
		t.Errorf("the error of UnmarshalJSON became %v", e)
	}
}

func TestDecodeBlamesATypeItCannotFillOnUs(t *testing.T) {
	t.Parallel()
	var r struct {
		C chan int `json:"c"`
	}
	err := Decode([]byte(`{"c":1}`), &r)
	if _, ok := matrix.AsError(err); err == nil || ok {
		t.Errorf("got %v, want an error that is not the client's", err)
	}
}

func TestResultsShareNothingWithTheScanner(t *testing.T) {
	t.Parallel()
	first, _ := Canonical([]byte(`{"b":1,"a":2}`))
	for range 100 {
		_, _ = Canonical([]byte(`{"z":"xxxxxxxxxxx","y":"xxxxxxxxxxxx"}`))
	}
	if string(first) != `{"a":2,"b":1}` {
		t.Errorf("an earlier result has become %s", first)
	}
}

func FuzzCanonical(f *testing.F) {
	for _, tt := range refused {
		if len(tt.in) < 1000 {
			f.Add([]byte(tt.in))
		}
	}
	f.Add([]byte(`{"b":[1,2.5,-0,1e3,{"\u00e9":"\ud83d\ude00\u001f\/"}],"a":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if Check(in) == nil && !json.Valid(in) {
			t.Fatalf("Check accepts what is not JSON: %q", in)
		}
		strict, err := Canonical(in)
		lax, laxErr := CanonicalLax(in)
		if err == nil && (laxErr != nil || !bytes.Equal(strict, lax)) {
			t.Fatalf("strict %s, lax %s (%v)", strict, lax, laxErr)
		}
		if laxErr != nil {
			return
		}
		if Check(in) != nil {
			t.Fatalf("CanonicalLax accepts what Check refuses: %q", in)
		}
		again, err := CanonicalLax(lax)
		if err != nil || !bytes.Equal(again, lax) {
			t.Fatalf("not idempotent: %s, then %s, %v", lax, again, err)
		}
		var before, after any
		if json.Unmarshal(in, &before) != nil { // a number beyond float64
			return
		}
		if err := json.Unmarshal(lax, &after); err != nil {
			t.Fatalf("canonical form is not JSON: %s", lax)
		}
		b, _ := json.Marshal(before)
		a, _ := json.Marshal(after)
		if strings.ReplaceAll(string(a), "-0", "0") != strings.ReplaceAll(string(b), "-0", "0") {
			t.Fatalf("%s means %s, but its canonical form means %s", in, b, a)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"name":"n","next":{"list":[{"reason":"x"}]},"Users":{}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var r request
		err := Decode(in, &r)
		if err == nil && Check(in) != nil {
			t.Fatalf("Decode accepts what Check refuses: %q", in)
		}
		if _, ok := matrix.AsError(err); err != nil && !ok {
			t.Fatalf("not the client's error: %v", err)
		}
	})
}

var message = []byte(`{"msgtype":"m.text","body":"Hello, wörld! This is a message of usual length.","format":"org.matrix.custom.html","formatted_body":"<b>Hello</b>","m.mentions":{"user_ids":["@alice:example.org"]},"m.relates_to":{"rel_type":"m.thread","event_id":"$abc"}}`)

func BenchmarkCanonical(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Canonical(message)
	}
}

func BenchmarkCheck(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = Check(message)
	}
}

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	in := []byte(`{"name":"n","limit":5,"reason":"r","content":{"a":1}}`)
	for b.Loop() {
		var r request
		_ = Decode(in, &r)
	}
}

func BenchmarkStandardLibraryValid(b *testing.B) {
	for b.Loop() {
		_ = json.Valid(message)
	}
}
