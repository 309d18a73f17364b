"use strict";
(function () {
  // Every table with two rows or more gets a button in each heading that sorts its rows; without script it reads on.
  function keyOf(row, index) {
    var cell = row.cells[index];
    return cell.hasAttribute("data-key") ? cell.getAttribute("data-key") : cell.textContent.trim();
  }
  function compare(left, right) {
    if (left === "" || right === "") { return null; }
    var numbers = [Number(left), Number(right)];
    if (!numbers.some(Number.isNaN)) { return numbers[0] - numbers[1]; }
    return left.localeCompare(right, "en", { numeric: true });
  }
  function sortBy(table, index, direction) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows).map(function (row, place) {
      return { row: row, key: keyOf(row, index), place: place };
    });
    rows.sort(function (a, b) {
      var order = compare(a.key, b.key);
      if (order === null) { order = (a.key === "") - (b.key === ""); } else { order *= direction; }
      return order || a.place - b.place;
    });
    rows.forEach(function (one) { body.appendChild(one.row); });
  }
  function makeSortable(table) {
    var heads = Array.from(table.tHead.rows[table.tHead.rows.length - 1].cells);
    heads.forEach(function (head, index) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.textContent = "";
      head.appendChild(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", function () {
        var direction = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        heads.forEach(function (other) { other.setAttribute("aria-sort", "none"); });
        head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
        sortBy(table, index, direction);
      });
    });
  }
  document.querySelectorAll("table").forEach(function (table) {
    if (table.tBodies[0].rows.length > 1) { makeSortable(table); }
  });
  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.from(document.querySelectorAll("details:not([open])"));
    opened.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
  });
})();
