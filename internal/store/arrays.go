package store

import (
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
)

// Arrays in PostgreSQL's binary format. Why: a batch of the journal is mostly arrays, and both sides would spend more on writing and
// reading them as text than on what is in them.

// The numbers of PostgreSQL's types.
const (
	oidBytea = 17
	oidInt8  = 20
	oidInt2  = 21
	oidInt4  = 23
	oidText  = 25
)

// binaryArray is an array as it is sent: it has []byte as its value, which the driver sends in the binary format.
type binaryArray []byte

// Value implements driver.Valuer.
func (a binaryArray) Value() (driver.Value, error) { return []byte(a), nil }

// newBinaryArray begins an array of one dimension, with space for size bytes of values.
func newBinaryArray(oid uint32, n, size int) binaryArray {
	a := make(binaryArray, 0, 20+4*n+size)
	if n == 0 {
		a = binary.BigEndian.AppendUint32(a, 0)
		a = binary.BigEndian.AppendUint32(a, 0)
		return binary.BigEndian.AppendUint32(a, oid)
	}
	for _, word := range []uint32{1, 1, oid, uint32(n), 1} { // dimensions, nulls, type; length and lower bound
		a = binary.BigEndian.AppendUint32(a, word)
	}
	return a
}

// An array that is nil is null.

func int8Array(values []int64) any { return intArray(oidInt8, 8, values) }

func int4Array(values []int64) any { return intArray(oidInt4, 4, values) }

func int2Array(values []int64) any { return intArray(oidInt2, 2, values) }

// intArray is an array of integers of size bytes, which the values have to fit.
func intArray(oid uint32, size int, values []int64) any {
	if values == nil {
		return nil
	}
	a := newBinaryArray(oid, len(values), size*len(values))
	var word [8]byte
	for _, v := range values {
		binary.BigEndian.PutUint64(word[:], uint64(v))
		a = append(binary.BigEndian.AppendUint32(a, uint32(size)), word[8-size:]...)
	}
	return a
}

func textArray(values []string) any {
	if values == nil {
		return nil
	}
	size := 0
	for _, v := range values {
		size += len(v)
	}
	a := newBinaryArray(oidText, len(values), size)
	for _, v := range values {
		a = append(binary.BigEndian.AppendUint32(a, uint32(len(v))), v...)
	}
	return a
}

func nullTextArray(values []sql.NullString) any {
	if values == nil {
		return nil
	}
	size := 0
	for _, v := range values {
		size += len(v.String)
	}
	a := newBinaryArray(oidText, len(values), size)
	for _, v := range values {
		if !v.Valid {
			a = binary.BigEndian.AppendUint32(a, 1<<32-1) // null
			continue
		}
		a = append(binary.BigEndian.AppendUint32(a, uint32(len(v.String))), v.String...)
	}
	return a
}

func byteaArray(values [][]byte) any {
	if values == nil {
		return nil
	}
	size := 0
	for _, v := range values {
		size += len(v)
	}
	a := newBinaryArray(oidBytea, len(values), size)
	for _, v := range values {
		a = append(binary.BigEndian.AppendUint32(a, uint32(len(v))), v...)
	}
	return a
}
