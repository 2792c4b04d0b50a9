// Package fields reads fields of servers' answers, and writes them into credentials'
// documents. No error of this package holds a value.
package fields
