(function () {
  'use strict';
  var form = document.getElementById('filter');
  var rows = Array.prototype.slice.call(document.querySelectorAll('#matrix-table tbody tr'));
  var count = document.getElementById('filter-count');
  var keys = ['q', 'outcome', 'level', 'target', 'diff'];

  function value(key) {
    var field = form.elements[key];
    return field.type === 'checkbox' ? (field.checked ? '1' : '') : field.value;
  }

  // A row stays when its text, its level and one of its cells match.
  function matches(row, want) {
    if (want.diff && !row.hasAttribute('data-d')) return false;
    if (want.level && row.getAttribute('data-l') !== want.level) return false;
    var text = row.textContent + row.querySelector('a').getAttribute('href');
    if (want.q && text.toLowerCase().indexOf(want.q.toLowerCase()) < 0) return false;
    if (!want.outcome) return true;
    return Array.prototype.some.call(row.cells, function (cell, i) {
      return i > 0 && (!want.target || String(i - 1) === want.target) && cell.classList.contains(want.outcome);
    });
  }

  function apply() {
    var want = {}, shown = 0, total = 0, group = null, any = false;
    keys.forEach(function (key) { want[key] = value(key); });
    rows.forEach(function (row) {
      if (row.className === 'g') {
        if (group) group.hidden = !any;
        group = row; any = false;
        return;
      }
      var ok = matches(row, want);
      row.hidden = !ok; total += 1;
      if (ok) { shown += 1; any = true; }
    });
    if (group) group.hidden = !any;
    columns(want.target);
    count.textContent = shown + ' of ' + total + ' cases shown';
  }

  function columns(target) {
    document.querySelectorAll('#matrix-table tr').forEach(function (row) {
      Array.prototype.forEach.call(row.cells, function (cell, i) {
        if (i > 0) cell.hidden = target !== '' && String(i - 1) !== target;
      });
    });
  }

  function remember() {
    var parts = keys.filter(value).map(function (key) { return key + '=' + encodeURIComponent(value(key)); });
    history.replaceState(null, '', parts.length ? '#?' + parts.join('&') : location.pathname + location.search);
  }

  function restore() {
    if (location.hash.slice(0, 2) !== '#?') return reveal();
    var given = new URLSearchParams(location.hash.slice(2));
    keys.forEach(function (key) {
      var field = form.elements[key];
      if (field.type === 'checkbox') field.checked = given.get(key) === '1';
      else field.value = given.get(key) || '';
      if (field.value === null || (field.tagName === 'SELECT' && field.selectedIndex < 0)) field.value = '';
    });
    apply();
    document.getElementById('matrix').scrollIntoView();
  }

  // A link into a folded part opens it.
  function reveal() {
    var id = location.hash.slice(1), node;
    try { id = decodeURIComponent(id); } catch (e) { return; }
    node = id && document.getElementById(id);
    if (!node) return;
    for (var up = node; up; up = up.parentElement) if (up.tagName === 'DETAILS') up.open = true;
    node.scrollIntoView();
  }

  if (form) {
    form.hidden = false;
    form.addEventListener('input', function () { apply(); remember(); });
    form.addEventListener('submit', function (event) { event.preventDefault(); });
    form.addEventListener('reset', function () { setTimeout(function () { apply(); remember(); }); });
    apply();
    restore();
  }
  window.addEventListener('hashchange', form ? restore : reveal);
  window.addEventListener('beforeprint', function () {
    document.querySelectorAll('#cases details').forEach(function (d) { if (d.querySelector('.ev.f, .ev.e')) d.open = true; });
  });
})();
