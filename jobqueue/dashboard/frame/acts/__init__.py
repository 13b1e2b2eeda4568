"""Dashboard: what people do on pages.

To add an action:

1. Write a page whose ``load`` gives its template ``frame/act.html`` a `form.Form`, made by ``form.filled``: the title,
   the sentences about what will happen, the fields, and the call of the API as it stands. ``why_not`` in place of a
   button says why the visitor or the present state does not allow it.
2. Write its ``act``: it makes a `form.Deed` of what was sent: one `call.Call` of the API, the sentence that tells what
   was done, and the page to go to. For a preview it returns `form.Preview`, and the page is shown again with it. Input
   that it cannot read it refuses by `InvalidInputError`, naming the field.
3. Add both to the table as one `Page` with ``act=``: it then takes ``POST`` on its path. Link to it from the page of
   its subject by ``ui.act``. A button that needs no page of its own is ``acts.button`` (``frame/acts.html``), which
   sends a form to the path of that same action.

The frame does the rest, as ``frame/acting.py`` says: it checks where the form comes from, does the same form once on
all servers of the database (``form.Deed.is_safe_again`` says what follows a crash), turns refusals into the page with
all that was typed, and goes on with a sentence. The tests of all pages try the new one, and its row in the tests of
roles says who may do it.
"""
