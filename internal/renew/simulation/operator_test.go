package simulation

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tidwall/sjson"
)

// An operation is one write of an operator.
type operation int

const (
	putSame      operation = iota // the same tokens without the key
	putOther                      // other tokens without the key
	patchOther                    // other tokens under the key that is there
	putOld                        // tokens that the document had before, without the key
	patchNote                     // a field of the operator's own
	deleteIt                      // as kv delete does
	undelete                      // as kv undelete does
	disable                       // refreshes
	enable                        // them
	destroyOld                    // all versions but the newest
	destroyAll                    // and that too
	operationMax = destroyAll
)

func (o operation) String() string {
	return [...]string{"puts the same", "puts another", "patches another in", "puts an old one", "patches a note", "deletes", "undeletes", "disables", "enables", "destroys old versions of", "destroys all versions of"}[o]
}

// operate does o as far as it makes sense now.
func (w *world) operate(t *tenant, o operation) {
	v := w.vault
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx := context.Background()
	doc, err := v.Get(ctx, t.key())
	w.trace.add("operator %s %s (version %d, %v)", o, t.name, doc.Version, err)
	if err != nil { // deleted
		switch o {
		case undelete:
			v.Undelete(t.key())
			if _, err := v.Get(ctx, t.key()); err == nil {
				w.ledger.deletes(t.name, false)
			}
		case putOther:
			w.write(t, doc.Version, w.pair(t, nil))
		case putSame:
			gone := w.ledger.oldest(t.name, 0)
			w.write(t, doc.Version, pairOf(gone.access, gone.refresh, gone.note))
		}
		return
	}
	held := parse(doc.Data)
	patched := func(path, value string) []byte {
		data, err := sjson.SetBytes(doc.Data, path, value)
		if err != nil {
			panic(err)
		}
		return data
	}
	switch o {
	case putSame:
		w.write(t, doc.Version, pairOf(held.access, held.refresh, held.note))
	case putOther:
		w.write(t, doc.Version, w.pair(t, nil))
	case patchOther:
		w.write(t, doc.Version, w.pair(t, doc.Data))
	case putOld:
		old := w.ledger.oldest(t.name, w.dice.at("old "+t.name).IntN(3)+1)
		w.write(t, doc.Version, pairOf(old.access, old.refresh, held.note))
	case patchNote:
		w.write(t, doc.Version, patched("note", fmt.Sprint("note ", doc.Version)))
	case deleteIt:
		_ = v.Delete(ctx, t.key())
		w.ledger.deletes(t.name, true)
	case disable:
		w.write(t, doc.Version, patched("_upstream_auth.disabled", "true"))
	case enable:
		if !held.disabled() {
			return
		}
		data, _ := sjson.DeleteBytes(doc.Data, "_upstream_auth.disabled")
		w.write(t, doc.Version, data)
	case destroyOld, destroyAll:
		for number := uint64(1); number < doc.Version; number++ {
			v.Destroy(t.key(), number)
		}
		if o == destroyAll {
			v.Destroy(t.key(), doc.Version)
		}
		w.ledger.destroys(t.name, o == destroyAll)
	}
}

// write writes as an operator does. The vault's mutex is held.
func (w *world) write(t *tenant, over uint64, data []byte) {
	number, err := w.vault.Put(context.Background(), t.key(), data, over)
	if err != nil {
		panic(err)
	}
	d := parse(data)
	w.trace.add("operator: %s: version %d is %s", t.name, number, d.refresh)
	w.ledger.operates(t.name, d)
}

// pair is a document with tokens of a new grant, over old if there is one.
func (w *world) pair(t *tenant, old []byte) []byte {
	access, refresh := w.server.grant(t, "", nil)
	if old == nil {
		return pairOf(access, refresh, "new")
	}
	data, _ := sjson.SetBytes(old, "access_token", access)
	data, _ = sjson.SetBytes(data, "refresh_token", refresh)
	return data
}

func pairOf(access, refresh, note string) []byte {
	data, err := json.Marshal(map[string]string{"access_token": access, "refresh_token": refresh, "note": note})
	if err != nil {
		panic(err)
	}
	return data
}

// oldest returns the document as it was n writes ago, or as it was first.
func (l *ledger) oldest(name string, n int) document {
	l.mu.Lock()
	defer l.mu.Unlock()
	versions := l.accounts[name].versions
	return versions[max(0, len(versions)-1-n*2)]
}
