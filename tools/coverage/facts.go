package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// facts are what a line, or an object in it, says. Each that nobody has asked for is a
// reason not to take the line for covered.
type facts struct {
	name   string // of the object in its line
	values map[string]any
	asked  map[string]bool
	inner  []*facts
	wrong  *[]string
}

// readFacts reads a line. What is not of the form that is asked for goes to wrong.
func readFacts(line []byte, wrong *[]string) (*facts, error) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	f := &facts{asked: map[string]bool{}, wrong: wrong}
	return f, decoder.Decode(&f.values)
}

func (f *facts) has(key string) bool { return f.values[key] != nil }

func (f *facts) fail(key, what string) {
	*f.wrong = append(*f.wrong, fmt.Sprintf("%s%s is %s", f.name, key, what))
}

// text returns a string, number or boolean; "" if there is none.
func (f *facts) text(key string) string {
	f.asked[key] = true
	text, ok := scalar(f.values[key])
	if !ok && f.has(key) {
		f.fail(key, "no text")
	}
	return text
}

// kind is text, and whether it is a string.
func scalar(value any) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

// object returns an object, an empty one if there is none.
func (f *facts) object(key string) *facts {
	f.asked[key] = true
	o := &facts{name: f.name + key + ".", asked: map[string]bool{}, wrong: f.wrong}
	var ok bool
	if o.values, ok = f.values[key].(map[string]any); !ok && f.has(key) {
		f.fail(key, "no object")
	}
	f.inner = append(f.inner, o)
	return o
}

// objects returns a list of objects.
func (f *facts) objects(key string) (all []*facts) {
	for i, value := range f.array(key) {
		o := &facts{name: fmt.Sprintf("%s%s.%d.", f.name, key, i), asked: map[string]bool{}, wrong: f.wrong}
		var ok bool
		if o.values, ok = value.(map[string]any); !ok {
			f.fail(key, "no list of objects")
		}
		all = append(all, o)
	}
	f.inner = append(f.inner, all...)
	return all
}

// list returns a list of texts.
func (f *facts) list(key string) (texts []string) {
	for _, value := range f.array(key) {
		text, ok := scalar(value)
		if !ok {
			f.fail(key, "no list of texts")
		}
		texts = append(texts, text)
	}
	return texts
}

func (f *facts) array(key string) []any {
	f.asked[key] = true
	values, ok := f.values[key].([]any)
	if !ok && f.has(key) {
		f.fail(key, "no list")
	}
	return values
}

// texts returns an object whose members are texts, by name.
func (f *facts) texts(key string) map[string]string {
	o := f.object(key)
	texts := make(map[string]string, len(o.values))
	for name := range o.values {
		texts[name] = o.text(name)
	}
	return texts
}

// left are the facts that nobody has asked for.
func (f *facts) left() (names []string) {
	for _, key := range sorted(f.values) {
		if !f.asked[key] {
			names = append(names, f.name+key)
		}
	}
	for _, o := range f.inner {
		names = append(names, o.left()...)
	}
	return names
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
