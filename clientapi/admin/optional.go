package admin

import "encoding/json"

// optional is a field of a request that may be missing, null or a value, which mean different things.
type optional[T any] struct {
	Value       T
	Given, Null bool
}

// UnmarshalJSON is called when the field is there.
func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.Given, o.Null = true, string(raw) == "null"
	if o.Null {
		return nil
	}
	return json.Unmarshal(raw, &o.Value)
}
