package outbox

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/roomline/roomline/internal/limits"
	"github.com/roomline/roomline/internal/matrix"
	"github.com/roomline/roomline/internal/people"
)

// What the policies of messages and of phones (clientapi/meetings/phones) have in common: which numbers may be reached, and what it may cost.

// CheckNumbers checks what an organisation decided: counts by their names, countries, beginnings of numbers, and a budget.
func CheckNumbers(counts map[string]*int64, countries, denyPrefixes []string, budget *string) error {
	for name, n := range counts {
		if n != nil && (*n < 0 || *n > math.MaxInt32) {
			return matrix.BadJSON("%s must be between 0 and %d", name, math.MaxInt32)
		}
	}
	if len(countries) > limits.MessageCountries || len(denyPrefixes) > limits.MessagePrefixes {
		return matrix.BadJSON("countries and deny_prefixes must have at most %d and %d entries", limits.MessageCountries, limits.MessagePrefixes)
	}
	for _, c := range countries {
		if !people.IsRegion(c) {
			return matrix.BadJSON("countries: %q is no country (ISO 3166 alpha-2)", c)
		}
	}
	for _, prefix := range denyPrefixes {
		if prefix == "" || len(prefix) > 15 || strings.Trim(prefix, "0123456789") != "" {
			return matrix.BadJSON("deny_prefixes: %q must be 1 to 15 digits", prefix)
		}
	}
	if budget != nil {
		if _, err := ParseMoney(*budget); err != nil {
			return matrix.BadJSON("budget_per_day %v", err)
		}
	}
	return nil
}

// Countries are those whose numbers are reached: what the organisation decided, or else its region, of those that the configuration allows; nil allows all.
func Countries(own []string, region string, allowed []string) []string {
	if own == nil && region != "" {
		own = []string{region}
	}
	if allowed == nil {
		return own
	}
	return slices.DeleteFunc(slices.Clone(own), func(c string) bool { return !slices.Contains(allowed, c) })
}

// Budget is what may be spent: what the organisation decided, at most most, or else the usual.
func Budget(own *string, usual, most int64) (int64, error) {
	if own == nil {
		return usual, nil
	}
	budget, err := ParseMoney(*own)
	if err != nil {
		return 0, fmt.Errorf("stored budget of an organisation %w", err)
	}
	return min(budget, max(most, usual)), nil
}

// Least is what the organisation decided, within what the configuration allows.
func Least(own *int64, most int) int {
	if own == nil {
		return most
	}
	return int(min(*own, int64(most)))
}

// Price is the price of a number: that of its longest beginning that has one, or else the usual.
func Price(prices map[string]int64, number string, usual int64) int64 {
	for n := len(number); n > 0; n-- {
		if p, ok := prices[number[:n]]; ok {
			return p
		}
	}
	return usual
}
